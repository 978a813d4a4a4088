"""Connections: a customer's own credentials for servers of someone else's."""
