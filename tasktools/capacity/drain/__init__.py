"""Drain forecasts: a filter of rates, simulated paths, and bands calibrated by earlier
forecasts."""
