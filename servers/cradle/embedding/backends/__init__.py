"""What computes vectors. A backend is the only place that knows its library."""
