"""Metrics of a live cluster for Prometheus: ``tasktools metrics``."""
