"""Jinja2 templates: image/, compose/, delivery/."""
