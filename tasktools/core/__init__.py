"""Values and decisions: no sockets, threads, files or widgets."""
