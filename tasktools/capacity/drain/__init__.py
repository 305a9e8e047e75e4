"""Drain forecasts: a filter of rates, simulated paths, and bands that learn from their past."""
