"""What at least two servers use. Imports no server."""
