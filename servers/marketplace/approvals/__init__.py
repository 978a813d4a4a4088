"""Approvals: what one person wants to change and another one decides."""
