"""Business servers that the platform itself offers in its catalogue. They need no customer's data and keep nothing."""
