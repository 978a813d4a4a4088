"""Installation parameters, the golden source: immutable versions with a fingerprint and probe vectors."""
