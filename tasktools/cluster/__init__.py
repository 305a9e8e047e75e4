"""`Cluster`, the facade for people: a file for each concern."""
