"""Licences: which customer may use which server, until when. Each is a signed document."""
