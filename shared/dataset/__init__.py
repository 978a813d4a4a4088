"""What a customer owns: vectors with full text (LanceDB), tables (Delta Lake), a graph, and the manifest over them.

Cradle writes it with `writer.DatasetWriter`, the instance reads it with `reader.DatasetReader`, and
`freeze.frozen_files` gives the files that an image carries, byte-identical for equal content.
"""
