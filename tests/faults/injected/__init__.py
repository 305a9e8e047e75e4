"""The faults, a module a group."""
