"""Tests of a whole platform. A package, so that the platform of its fixtures ends with its last test."""
