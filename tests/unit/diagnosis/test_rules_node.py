"""Alarms of nodes: from the health check, from nodes, and from connections that are blocked."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.server_facts import Alarm
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.rules.node import node_alarm
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import only, says_nothing, unknown


def with_server(**fields: Any) -> Facts:
    """Return healthy facts but for *fields* of the server."""
    topic = make.topic()
    return make.facts(topic, server=make.server([topic], **fields))


def test_an_alarm_of_the_health_check_is_found_without_the_list_of_nodes() -> None:
    alarm = Alarm(resource="disk space", node="rabbit@one")
    finding = only(node_alarm, with_server(alarms=(alarm,), nodes=None))
    assert (finding.severity, finding.subject_kind, finding.subject) == (
        "critical",
        "node",
        "rabbit@one",
    )
    assert "A disk alarm is on at rabbit@one" in finding.finding
    assert finding.topics == ()  # a message a second is still published


def test_an_alarm_comes_with_the_figures_of_its_node() -> None:
    node = make.node(memory_alarm=True, memory_used=3_300_000_000)
    stopped = make.topic(
        queue=make.queue(published=make.samples(0, 5, 10, 15, 15, 15, 15)),
    )
    server = make.server(
        [stopped],
        nodes=(node, make.node(name="rabbit@two")),
        alarms=(Alarm(resource="memory", node="rabbit@one"),),
        connections=(make.connection(state="blocked"), make.connection("b", state="blocking")),
    )
    finding = only(node_alarm, make.facts(stopped, server=server))
    assert finding.evidence["memory used"] == "3.30 GB of 3.20 GB"
    assert finding.evidence["blocked connections"] == 2
    assert "2 connections blocked" in finding.finding
    assert finding.topics == ("emails",)


def test_figures_from_before_an_alarm_do_not_stand_beside_it() -> None:
    """The list of nodes is some seconds old: "memory used 146.5 MB of 15.17 GB" in an alarm."""
    server = make.server(
        [make.topic()],
        nodes=(make.node(memory_used=146_500_000, memory_limit=15_170_000_000),),
        alarms=(Alarm(resource="memory", node="rabbit@one"),),
    )
    finding = only(node_alarm, make.facts(make.topic(), server=server))
    assert "memory used" not in finding.finding
    assert "memory used" not in finding.evidence
    assert "memory to the node" in str(finding.remedy)


def test_figures_of_a_small_disk_are_in_megabytes() -> None:
    node = make.node(disk_alarm=True, disk_free=40_000_000)
    finding = only(node_alarm, with_server(alarms=None, nodes=(node,)))
    assert finding.evidence["disk free"] == "40.0 MB, limit 50.0 MB"


def test_blocked_connections_alone_are_an_alarm() -> None:
    blocked = make.connection(state="blocked")
    finding = only(node_alarm, with_server(alarms=None, nodes=None, connections=(blocked,)))
    assert finding.subject == "the broker"


def test_an_alarm_that_only_our_connection_tells_of_is_found() -> None:
    facts = make.amqp_only(make.facts())
    assert facts.server is not None
    server = replace(facts.server, alarms=(Alarm(resource="memory", node=None),))
    finding = only(node_alarm, replace(facts, server=server))
    assert finding.subject == "the broker"
    assert finding.topics == ("emails",)  # what is published is not known, and all is blocked


def test_statistics_that_still_tell_of_an_alarm_that_is_over_find_none() -> None:
    node = make.node(memory_alarm=True)
    blocked = make.connection(state="blocked")
    assert says_nothing(node_alarm, with_server(alarms=(), nodes=(node,), connections=(blocked,)))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"connections": (make.connection(state="flow"),)},
        {"alarms": None},
        {"nodes": None},
        {
            "connections": (make.connection("ours", state="blocked"),),
            "own_connections": frozenset({"ours"}),
        },
    ],
    ids=["healthy", "flow", "no health check", "no nodes", "our own connection"],
)
def test_no_alarm(fields: dict[str, Any]) -> None:
    assert says_nothing(node_alarm, with_server(**fields))


def test_without_alarms_and_nodes_it_cannot_be_told() -> None:
    facts = make.without_part(make.facts(), "alarms", "nodes")
    assert unknown(node_alarm, facts) == ["alarms: needs the tag monitoring"]
    assert unknown(node_alarm, make.amqp_only(make.facts())) == [f"alarms: {make.NO_TAG}"]
