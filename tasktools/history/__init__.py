"""Recordings: what a cluster looked like, and what happened in it, in one SQLite file."""
