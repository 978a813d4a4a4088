"""Counting what is served, before it leaves: units, a spool on the local disk, and batches that count once."""
