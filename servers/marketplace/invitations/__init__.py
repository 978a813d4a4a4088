"""Invitations: a person sets the password of an account that another has offered."""
