"""Readers of problem files, one per format; each turns one row into a `Problem`."""
