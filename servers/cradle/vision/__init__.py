"""Vision and OCR: one file per provider behind one interface; pages in, text out; nothing is kept."""
