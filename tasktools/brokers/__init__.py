"""The broker contract (`base`) and the two backends that keep it."""
