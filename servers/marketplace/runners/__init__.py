"""Servers that the marketplace runs itself: packages over stdio, as bounded child processes and containers."""
