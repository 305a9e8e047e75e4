"""The conformance suite: what every broker does, as tests that a backend inherits.

class TestMyBroker(BrokerConformance):
    lacks = frozenset({"quorum_queues"})

    @pytest.fixture
    def broker(self): ...
"""

import pytest

_PARTS = (
    "base",
    "claiming",
    "consuming",
    "dead_lettering",
    "delaying",
    "dialects",
    "events",
    "failing",
    "lifecycle",
    "locking",
    "looking",
    "moving",
    "overhearing",
    "publishing",
    "settings",
    "tapping",
    "topics",
)
for _part in _PARTS:
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from tasktools.testing.conformance.base import Backdoor  # noqa: E402 - after the rewriting is on
from tasktools.testing.conformance.dialects import DialectConformance  # noqa: E402
from tasktools.testing.conformance.suite import BrokerConformance  # noqa: E402

__all__ = ("Backdoor", "BrokerConformance", "DialectConformance")
