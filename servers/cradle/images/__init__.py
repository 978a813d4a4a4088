"""Customer images: assembled byte for byte the same on every run, archived for ever, packaged and proved to start."""
