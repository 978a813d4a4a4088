"""Embeddings: one model for every customer, fair between them. Keeps no text and no vector.

service       EmbeddingService: what others call
models        which model, its files, digests and prefixes; network off
export        the model as a folder that runs without torch (a child process)
tokenizer     texts → model input, on a few threads
admission     how much may wait, and how long until there is room
scheduler     which texts go into the next batch; pure
suspects      which texts were on a device when its process ended; pure
engine        batches → workers → callers; a poison text fails alone
worker        a child process and what is on its way to it
device        the child process: batches → backend
backends/     openvino, packed (own encoder on torch, with attention and weights), sentence_transformers
wire          what the HTTP routes read and write; pure
"""
