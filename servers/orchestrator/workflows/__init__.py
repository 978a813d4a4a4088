"""Jobs: which steps each kind has, what a step does, and the worker that carries them through every crash."""
