"""The wire between servers: frozen models that both sides of a call share. A model here holds no customer content
unless its docstring says so."""
