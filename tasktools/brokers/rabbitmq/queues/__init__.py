"""Queues and exchanges of a cluster: what is declared, what is known of them, and locks."""
