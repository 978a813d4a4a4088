"""Several processes of the marketplace on one machine, behind one port (`P0711_MARKETPLACE_WORKERS`).

A worker is a replica: what replicas share in Postgres and in the home folder, workers share too. What one of a
machine's processes has to hold for all of them is decided here.

worker      which of them this process is, and what they share in memory
supervisor  starts them, waits for them, replaces the dead
watchdog    which of them hang
line        a worker's line to its supervisor
peers       a worker's requests to the others
counting    the metrics of all of them, at whichever is asked
"""
