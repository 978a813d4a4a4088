"""The release, as every server and client names it to the other side."""

VERSION = "0.1.0"
