"""DataFrames: the schema of each, and how they are built."""
