"""Dialects: how each kind of worker writes on the broker, a module each, as pure values."""
