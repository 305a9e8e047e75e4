"""Messages that no queue takes."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.core.routes import Binding, Exchange, Routes
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.rules.routing import unroutable
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import only, says_nothing, unknown


def with_server(**fields: Any) -> Facts:
    """Return healthy facts but for *fields* of the server."""
    topic = make.topic()
    return make.facts(topic, server=make.server([topic], **fields))


def test_a_publisher_whose_messages_no_queue_takes_is_found() -> None:
    connections = (
        make.connection("a", unroutable=make.samples(0, 0, 3, 12), client="shop"),
        make.connection("b", unroutable=make.samples(0, 1, 1, 1)),
        make.connection("c"),
    )
    finding = only(
        unroutable,
        with_server(unroutable=make.samples(0, 1, 4, 13), connections=connections),
    )
    assert (finding.severity, finding.subject_kind, finding.subject) == (
        "warning",
        "publisher",
        "shop (a)",
    )
    assert finding.finding.startswith(
        "13 messages were published in a minute that no queue took, 12 of them by shop (a):"
    )
    assert finding.evidence["by connection"] == {"shop (a)": 12, "b": 1}


@pytest.mark.parametrize("client", ["tasktools events publishing h:1", "tasktools main h:2"])
def test_what_tasktools_publishes_is_told_to_its_publishers(client: str) -> None:
    own_connection = make.connection("e", client=client, unroutable=make.growing(1.0))
    assert says_nothing(
        unroutable, with_server(unroutable=make.growing(1.0), connections=(own_connection,))
    )


def test_few_messages_are_no_finding() -> None:
    assert says_nothing(unroutable, make.facts())
    few = make.connection(unroutable=make.samples(0, 0, 4))
    assert says_nothing(unroutable, with_server(connections=(few,)))


def test_what_a_catch_all_queue_takes_cannot_be_told() -> None:
    everything = Binding(source="fp.tasks", destination="audit", key="#")
    facts = with_server(routes=make.routes("emails", bindings=[everything]))
    assert unknown(unroutable, facts) == [
        "what no topic takes goes to audit, and is not counted as unroutable"
    ]
    alternate = Routes([Exchange(name="fp.tasks", type="direct", alternate="rest")], [])
    assert "goes to rest" in unknown(unroutable, with_server(routes=alternate))[0]
    assert says_nothing(unroutable, with_server(routes=None))


def test_unroutable_messages_cannot_be_told_without_management() -> None:
    assert unknown(unroutable, make.amqp_only(make.facts())) == [
        f"messages that no queue took: {make.NO_TAG}"
    ]
    partly = make.without_part(make.facts(), "unroutable", "connections")
    assert unknown(unroutable, partly) == ["messages that no queue took: needs the tag monitoring"]
