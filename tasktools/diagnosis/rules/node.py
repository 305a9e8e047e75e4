"""Rules about nodes: resource alarms, which block every publisher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tasktools.core.plurals import counted
from tasktools.core.server_facts import ServerFacts, ServerNode
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import Finding, Judgement, Rule
from tasktools.diagnosis.readings import change_of, judged_topics, needs_server

_BLOCKED: Final = ("blocked", "blocking")  # `flow` is normal under load
_QUIET_SECONDS: Final = 10.0  # without a publish, after which an alarm has stopped it
_UNKNOWN_NODE: Final = "the broker"
_MEGABYTE, _GIGABYTE = 1e6, 1e9  # bytes


def node_alarm(facts: Facts) -> Iterator[Judgement]:
    """Find memory and disk alarms, as the broker reports them or by blocked connections."""
    server = facts.server
    alarms = {} if server is None else _alarms(server)
    blocked = 0 if server is None else _blocked(server)
    if blocked and not alarms and (server is None or server.alarms is None):
        alarms = {_UNKNOWN_NODE: ["resource"]}
    for name, resources in sorted(alarms.items()):
        yield _finding(facts, name, resources, blocked)
    if not alarms and (server is None or (server.alarms is None and server.nodes is None)):
        yield needs_server(facts, "alarms", "alarms")


def _alarms(server: ServerFacts) -> dict[str, list[str]]:
    """Return the resources that each node is short of.

    The list of nodes is some seconds old, so it is used only if the alarms are not known.
    """
    pairs = {(each.node or _UNKNOWN_NODE, each.resource) for each in server.alarms or ()}
    for node in (server.nodes or ()) if server.alarms is None else ():
        pairs |= {(node.name, "memory")} if node.memory_alarm else set()
        pairs |= {(node.name, "disk")} if node.disk_alarm else set()
    # The health check calls it "disk space", the list of nodes has one flag for it.
    pairs = {(node, resource.removesuffix(" space")) for node, resource in pairs}
    nodes = sorted({node for node, _ in pairs})
    return {name: sorted(res for node, res in pairs if node == name) for name in nodes}


def _blocked(server: ServerFacts) -> int:
    return sum(
        each.state in _BLOCKED
        for each in server.connections or ()
        if each.name not in server.own_connections
    )


def _finding(facts: Facts, name: str, resources: list[str], blocked: int) -> Finding:
    words = " and ".join(resources)
    node = _node(facts, name)
    figures = {} if node is None else _figures(node, resources)
    shown = "; ".join(f"{what} {value}" for what, value in figures.items())
    connections = f"; {counted(blocked, 'connection')} blocked" if blocked else ""
    stopped = tuple(topic.topic for topic in judged_topics(facts) if _is_stopped(topic))
    return Finding(
        check="node_alarm",
        severity="critical",
        subject_kind="node",
        subject=name,
        finding=(
            f"A {words} alarm is on at {name}{f' ({shown})' if shown else ''}: the broker blocks "
            f"all publishers, workers' heartbeats too{connections}."
        ),
        evidence={"alarms": words, **figures, "blocked connections": blocked},
        against={"a connection in flow": "is normal under load, and not counted"},
        remedy=(
            f"{'Free disk on' if 'disk' in resources else 'Give more memory to'} the node, or "
            "drain the deepest queue (add workers, or archive messages); publishers continue by "
            "themselves when the alarm ends."
        ),
        call='cluster.topics().nlargest(5, "queued")',
        needs=("management",),
        topics=stopped,
    )


def _node(facts: Facts, name: str) -> ServerNode | None:
    nodes = facts.server.nodes if facts.server is not None else None
    return next((node for node in nodes or () if node.name == name), None)


def _figures(node: ServerNode, resources: list[str]) -> dict[str, Any]:
    """Return the numbers behind the alarms, unless they are older than the alarms."""
    figures: dict[str, Any] = {}
    used, most = node.memory_used, node.memory_limit
    if "memory" in resources and used is not None and most is not None and used >= most:
        figures["memory used"] = f"{_size(used)} of {_size(most)}"
    free, least = node.disk_free, node.disk_limit
    if "disk" in resources and free is not None and least is not None and free <= least:
        figures["disk free"] = f"{_size(free)}, limit {_size(least)}"
    return figures


def _size(number: int) -> str:
    if number < _GIGABYTE:
        return f"{number / _MEGABYTE:.1f} MB"
    return f"{number / _GIGABYTE:.2f} GB"


def _is_stopped(topic: TopicFacts) -> bool:
    """Whether publishing has stopped. If it is not known, it has: an alarm blocks publishers."""
    last = change_of(topic, "published", _QUIET_SECONDS)
    before = change_of(topic, "published", 60.0, at_least=_QUIET_SECONDS)
    return last is None or before is None or (last == 0 and before > 0)


RULES: Final = (Rule("node_alarm", 1, node_alarm, "a memory or disk alarm on a node"),)
