"""Runs the whole platform on one machine: what stands behind `0711 up`, `0711 demo` and `0711 connect`."""
