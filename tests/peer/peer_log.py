"""The log of the peer's task `logged`."""

from __future__ import annotations

from typing import Any


def moments(peer: Any, what: str) -> list[float]:
    """Return the times, in seconds since the epoch, at which tasks *began* or *ended*."""
    lines = peer.log.read_text().splitlines()
    return [float(line.split()[1]) for line in lines if line.startswith(what)]
