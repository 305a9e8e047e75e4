"""Settings of hypothesis for all unit tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine makes up inputs slowly; that is no fault of the code under test.
settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
