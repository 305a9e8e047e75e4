"""The running cluster: active tasks, tasks followed to their end, and caches of events."""
