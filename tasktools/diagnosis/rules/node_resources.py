"""Checks of a node's scarce resources: descriptors, disk, and connections that come and go."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from tasktools.core.series import Series, total
from tasktools.core.server_facts import ServerNode
from tasktools.core.timespans import in_words
from tasktools.core.trend import trend
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Finding, Judgement, Rule, Severity
from tasktools.diagnosis.readings import needs_server

_DESCRIPTOR_SHARE: Final = 0.8
"""Share of the limit of file descriptors from which on a node runs short of them."""
_DISK_SECONDS: Final = 86_400.0
"""A disk that will be full within so many seconds is a finding: a day."""
_MIN_DISK_SECONDS: Final = 1_500.0
"""Seconds that samples must cover: log files and journals come and go within minutes."""
_FORECAST_SPANS: Final = 24.0
"""The longest forecast, as a multiple of the time that its samples cover: an hour of samples is
enough for a day. What is further away is suspected only."""
_CHURN_SECONDS: Final = 600.0
"""Seconds for which connections must come and go without a pause."""
_CHURN_SHARE: Final = 0.1
"""Share of the connections that are opened or closed each second, as in RabbitMQ's own alert."""
_MIN_CONNECTIONS: Final = 100
"""Least number of connections: with fewer, a script or a test may open a tenth of them a second."""


def _near(facts: Facts) -> Iterator[Judgement]:
    if facts.server is None or facts.server.nodes is None:
        yield needs_server(facts, "nodes", "descriptors and disks of nodes")
        return
    for node in facts.server.nodes:
        used, limit = node.descriptors_used, node.descriptors_limit
        if used is not None and limit and used > _DESCRIPTOR_SHARE * limit:
            yield _short_of(
                node,
                f"uses {used} of its {limit} file descriptors; without any left it takes no "
                "connections.",
                {"descriptors": used, "limit": limit},
                "Raise the limit of open files, or see which clients open so many connections.",
            )
        left = _until_full(node)
        if left is not None and left < _DISK_SECONDS:
            yield _short_of(
                node,
                f"has {_gigabytes(node.disk_free or 0)} of free disk and reaches its limit of "
                f"{_gigabytes(node.disk_limit or 0)} in {in_words(left)} at the latest, at the "
                "present rate; then all publishers are blocked.",
                {"disk free": node.disk_free, "limit": node.disk_limit, "seconds left": left},
                "Free disk space, or drain the deepest queues.",
                "warning" if left <= _FORECAST_SPANS * _sampled(node) else "suspect",
            )


def _until_full(node: ServerNode) -> float | None:
    """Return in how many seconds the disk is full at the latest; `None`: it need not be."""
    free, limit = node.disk_free_series, node.disk_limit
    if not free or limit is None or node.disk_free is None or _sampled(node) < _MIN_DISK_SECONDS:
        return None
    growth = trend(free)
    if growth is None or growth.high >= 0:
        return None
    return max(node.disk_free - limit, 0) / -growth.high


def _sampled(node: ServerNode) -> float:
    """Return how many seconds the samples of the free disk cover."""
    return node.disk_free_series.span if node.disk_free_series else 0.0


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def _short_of(
    node: ServerNode,
    what: str,
    evidence: dict[str, float | None],
    remedy: str,
    severity: Severity = "warning",
) -> Finding:
    return Finding(
        check="near",
        severity=severity,
        subject_kind="node",
        subject=node.name,
        finding=f"Node {node.name!r} {what}",
        evidence=evidence,
        remedy=remedy,
        call="cluster.topics()",
        needs=("management",),
    )


def _churn(facts: Facts) -> Iterator[Judgement]:
    server = facts.server
    if server is None or server.nodes is None:
        yield needs_server(facts, "nodes", "how many connections are opened and closed")
        return
    opened = [node.connections_opened for node in server.nodes if node.connections_opened]
    closed = [node.connections_closed for node in server.nodes if node.connections_closed]
    # What other vhosts have is not listed; a health check is closed without having been opened.
    balance = sum(each.last or 0 for each in opened) - sum(each.last or 0 for each in closed)
    connections = max(len(server.connections or ()), round(balance))
    rates = _rates([*opened, *closed])
    if connections < _MIN_CONNECTIONS or not rates:
        return
    if min(rates) > _CHURN_SHARE * connections:
        yield Finding(
            check="churn",
            severity="warning",
            subject_kind="cluster",
            subject="connections",
            finding=(
                f"At least {min(rates):.3g} connections a second are opened or closed, for 10 min, "
                f"while about {connections} are open: a client opens a connection for each message."
            ),
            evidence={"opened or closed a second": min(rates), "connections": connections},
            remedy="Find the client in the list of connections, and let it keep its connection.",
            call="cluster.stats()",
            needs=("management",),
        )


def _rates(counters: list[Series]) -> list[float]:
    """Return the total rise of *counters* per second, between every two samples; empty if the
    samples cover too little time."""
    both = total(*counters).window(_CHURN_SECONDS)
    if both.span < _CHURN_SECONDS:
        return []
    return [
        (value - earlier) / (at - before)
        for (before, earlier), (at, value) in pairwise(zip(both.times, both.values, strict=True))
    ]


RULES: Final = (
    Rule("near", 7, _near, "nodes that run short of descriptors or disk"),
    Rule("churn", 7, _churn, "connections that come and go all the time"),
)
"""Checks of what a node runs short of."""
