"""More machines: files are read and texts embedded on those of a Ray cluster too; everything else stays here.

ray        connecting, and calls of actors: the only module that imports ray
reading    one pool of readers: this machine's and the cluster's
embedding  a worker of the embedding engine whose model is on another machine

A document takes the same stages in the same order wherever its file is read, so the ledger, the dataset and its digest
are those of one machine. Buckets, Postgres, keys and OCR stay with this machine: another one gets the bytes of a file,
or the ids of tokens, and gives parts or vectors back.
"""
