"""Postgres: the embedded server, its databases and roles, migrations, and the pool that the stores use.

With `servers/*/…/store.py` the only place that knows asyncpg.
"""
