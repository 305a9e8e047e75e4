"""The real Dramatiq peer: it runs what is sent, and what dies goes to Q.XQ."""

from __future__ import annotations

import json

import pytest

from tasktools.testing import eventually
from tests.peer.dramatiq_peer import DramatiqPeer
from tests.support import Raw
from tests.vhosts import Vhost


@pytest.fixture
def vhost(dramatiq: DramatiqPeer) -> Vhost:
    return dramatiq.vhost


def test_messages_are_run_and_die_after_their_retries(dramatiq: DramatiqPeer, raw: Raw) -> None:
    charged = dramatiq.submit("charge", "h\u00e9", amount=2)
    later = dramatiq.submit("charge", 8, _options={"delay": 3_600_000})
    failed, unknown = dramatiq.submit("fail", 9), dramatiq.submit("no_such_actor")
    eventually(lambda: dramatiq.executed(charged))
    (execution,) = dramatiq.executed(charged)
    assert (execution["args"], execution["kwargs"]) == (["h\u00e9"], {"amount": 2})
    eventually(lambda: raw.depth("orders.XQ") == 2)
    dead = {message["message_id"]: message for message in map(json.loads, raw.bodies("orders.XQ"))}
    assert set(dead) == {failed, unknown}
    assert dead[failed]["options"]["retries"] == 1
    assert "ValueError: boom" in dead[failed]["options"]["traceback"]
    assert not dramatiq.executed(later)  # its worker holds it
