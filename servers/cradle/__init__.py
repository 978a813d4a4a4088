"""Cradle: the shared GPU service (embeddings, vision, processing, installations, images). It retains nothing."""
