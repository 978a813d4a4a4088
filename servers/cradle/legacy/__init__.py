"""A legacy deployment: what lies in its folder, a copy of it, and whether the new one holds and answers the same."""
