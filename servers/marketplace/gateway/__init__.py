"""Call-through to installed servers: a relay that checks, swaps the token and streams."""
