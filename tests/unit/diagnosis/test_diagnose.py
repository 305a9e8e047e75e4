"""`diagnose` and `topic_states` on a cluster in memory and on its recording."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tasktools.core.errors import BrokerTimeout
from tasktools.core.frames.frame import Frame
from tasktools.core.models import ClusterState
from tasktools.diagnosis.finding import Row
from tasktools.diagnosis.findings_frame import Findings
from tasktools.diagnosis.rules import RULES
from tasktools.diagnosis.summary import folded, headline
from tasktools.diagnosis.worst_finding import glance
from tests.recorded import START, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db")
    scene.cluster.broker.ensure_topic("emails")
    yield scene
    scene.close()


def advertise(scene: Scene, *, seconds: int = 60) -> None:
    """Let a worker say that it consumes a topic, which it does not, while tasks are published."""
    tt.diagnose(scene.cluster, settle=0)
    for _ in range(seconds // 5):
        scene.cluster.publish("emails", "shop:send")
        scene.beat(started_at=scene.clock.time() - 600)
        scene.tick()
    scene.beat(started_at=scene.clock.time() - 600)


def verdict(findings: pd.DataFrame, check: str) -> str:
    return str(findings.set_index("check").loc[check, "verdict"])


def test_why_a_check_cannot_tell_ends_with_a_whole_word() -> None:
    why = " ".join(f"word{number:02}" for number in range(30))
    line = folded([Row(verdict="cannot tell", check="clock_off", finding=f"Cannot tell: {why}.")])
    assert re.fullmatch(r"0 checks ruled out, 1 cannot tell: clock_off \((word\d\d )+…\)", line)


# --- looks ------------------------------------------------------------------------------


def test_every_check_is_answered(scene: Scene) -> None:
    findings = tt.diagnose(scene.cluster)
    assert {rule.check for rule in RULES} == set(findings["check"])
    assert findings.attrs["cluster"] == repr(scene.cluster)
    assert findings.attrs["sources"]["events"]["ok"]
    assert any("events were received from" in note for note in findings.attrs["notes"])


def test_what_lies_there_is_told_where_nothing_is_found(scene: Scene) -> None:
    scene.server.put("emails.dead", b"broken")
    findings = tt.diagnose(scene.cluster)
    text = "1 dead letter lies in 'emails'"
    assert findings.attrs["left_behind"] == text
    assert findings.attrs["headline"].startswith(f"Nothing found, but {text};")
    assert f"Nothing found, but {text}." in repr(findings)
    assert "Nothing found, but 1 dead letter lies" in glance(scene.cluster)


def test_what_must_last_is_looked_at_twice(scene: Scene) -> None:
    advertise(scene)
    began = scene.clock.time()
    findings = tt.diagnose(Cluster(scene.cluster.broker, clock=scene.clock), settle=0)
    assert verdict(findings, "advertised_not_consumed") == "suspected"
    assert scene.clock.time() == began


def test_a_second_look_shows_that_it_lasts(scene: Scene) -> None:
    broker = MemoryBroker(scene.server, layout=scene.cluster.broker.layout)
    cluster = Cluster(broker, clock=Beating(scene))
    tt.diagnose(cluster)
    advertise(scene, seconds=90)
    began = scene.clock.time()
    assert verdict(tt.diagnose(cluster), "advertised_not_consumed") == "found"
    assert scene.clock.time() == began + 5
    cluster.close()


class Beating:
    """The clock of a scene, in which the worker speaks while somebody sleeps."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def time(self) -> float:
        return self._scene.clock.time()

    def monotonic(self) -> float:
        return self._scene.clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self._scene.clock.sleep(seconds)
        self._scene.beat(started_at=self.time() - 600)


def test_the_look_before_is_the_first_of_two(scene: Scene) -> None:
    advertise(scene)
    tt.diagnose(scene.cluster, settle=0)
    scene.clock.advance(2)
    scene.beat(started_at=scene.clock.time() - 600)
    tt.diagnose(scene.cluster, settle=0)  # too near, and does not push out the one before
    scene.clock.advance(3)
    scene.beat(started_at=scene.clock.time() - 600)
    findings = tt.diagnose(scene.cluster, settle=0)
    assert verdict(findings, "advertised_not_consumed") == "found"


def test_a_look_long_ago_is_none_of_two(scene: Scene) -> None:
    advertise(scene)
    tt.diagnose(scene.cluster, settle=0)
    scene.clock.advance(120)
    scene.beat(started_at=scene.clock.time() - 600)
    findings = tt.diagnose(scene.cluster, settle=0)
    assert verdict(findings, "advertised_not_consumed") == "suspected"


def test_in_a_recording_its_samples_are_the_two_looks(scene: Scene) -> None:
    advertise(scene)
    scene.tick(1)
    before = scene.clock.time()
    history = scene.history()
    findings = tt.diagnose(history)
    assert verdict(findings, "advertised_not_consumed") == "found"
    assert findings.attrs["recorded"]
    assert scene.clock.time() == before

    early = tt.diagnose(history, at=moment(before - 57))
    assert verdict(early, "advertised_not_consumed") != "found"


def test_each_source_is_asked_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    advertise(scene)
    asked: Counter[str] = Counter()
    broker = scene.cluster.broker
    for method in ("cluster_state", "topic_report", "server_facts"):
        answer = getattr(broker, method)

        def ask(*args: Any, _answer: Any = answer, _name: str = method, **options: Any) -> Any:
            asked[_name] += 1
            return _answer(*args, **options)

        monkeypatch.setattr(broker, method, ask)
    tt.diagnose(scene.cluster, settle=0)
    assert asked == {"cluster_state": 1, "topic_report": 1, "server_facts": 1}


def test_nothing_is_changed_and_no_queue_is_looked_into(scene: Scene) -> None:
    advertise(scene)
    tt.diagnose(scene.cluster)
    tt.topic_states(scene.cluster)
    peeked = scene.cluster.broker.peek("emails", 100)
    assert len(peeked.messages) == 12
    assert not any(message.redelivered for message in peeked.messages)


def test_a_broker_that_does_not_answer_is_diagnosed_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer(*_args: Any, **_options: Any) -> Any:
        raise BrokerTimeout("it blocks publishers (low on memory)")

    advertise(scene)
    for method in ("cluster_state", "topic_report", "server_facts"):
        monkeypatch.setattr(scene.cluster.broker, method, no_answer)
    findings = tt.diagnose(scene.cluster)
    assert verdict(findings, "workers_gone") == "cannot tell"
    assert "found" not in set(findings["verdict"])
    assert any("low on memory" in note for note in findings.attrs["notes"])


def test_a_read_only_cluster_can_be_diagnosed(scene: Scene) -> None:
    advertise(scene)
    layout = scene.cluster.broker.layout
    with MemoryBroker(scene.server, layout=layout, read_only=True) as broker:
        assert len(tt.diagnose(Cluster(broker, clock=scene.clock), settle=0)) >= len(RULES)


# --- states -----------------------------------------------------------------------------


def test_states_of_topics_are_those_of_a_window(scene: Scene) -> None:
    for _ in range(20):
        scene.cluster.publish("emails", "shop:send")
        tt.topic_states(scene.cluster)
        scene.tick()
    for cluster in (scene.cluster, scene.history()):
        states = tt.topic_states(cluster)
        assert states[["topic", "state"]].to_numpy().tolist() == [["emails", "stopped"]]
        assert states.attrs["cluster"] == repr(cluster)
    early = tt.topic_states(scene.history(), at=moment(scene.clock.time() - 95))
    assert early["state"].tolist() == ["cannot tell"]


# --- what is shown ----------------------------------------------------------------------


def row(verdict: Any, check: str, finding: str, **fields: Any) -> Row:
    return Row(verdict=verdict, check=check, finding=finding, **fields)


ROWS = (
    row("found", "dead_growing", "The dead letters of <b>orders</b> grew.", severity="critical"),
    row("suspected", "worker_late", "It is silent.", severity="suspect"),
    *(row("cannot tell", f"loop_{n}", "Cannot tell of loops: no tag.") for n in range(5)),
    row("ruled out", "clock_off", "Ruled out: clocks."),
)


def test_the_headline_is_the_worst_finding() -> None:
    text = "critical, dead_growing: The dead letters of <b>orders</b> grew. (and 1 more)"
    assert headline(ROWS) == text
    assert headline(ROWS[1:]).startswith("suspected, worker_late")
    assert headline(ROWS[2:]).startswith(
        "Nothing found, but most checks cannot tell; 1 check ruled out, 5 cannot tell"
    )


def test_what_was_ruled_out_is_one_line() -> None:
    assert folded(ROWS).count("no tag") == 3
    assert folded(ROWS).endswith("and 2 more")
    assert folded(ROWS[-1:]) == "1 check ruled out."


def test_a_notebook_shows_what_is_found_and_folds_the_rest(scene: Scene) -> None:
    advertise(scene)
    findings = tt.diagnose(scene.cluster, settle=0)
    assert isinstance(findings, Findings)
    shown = str(findings._repr_html_())
    assert "advertised_not_consumed" in shown
    assert "checks ruled out" in shown
    assert "Ruled out:" not in shown
    assert "Ruled out:" not in repr(findings)
    assert type(findings.head(3)) is Frame
    assert "Ruled out:" in findings.head(90).to_string()


def test_where_nothing_is_found_that_is_shown(scene: Scene) -> None:
    findings = tt.diagnose(scene.cluster)
    assert isinstance(findings, Findings)
    assert "Nothing found" in repr(findings)
    assert "Nothing found" in str(findings._repr_html_())


def test_a_cluster_shows_its_worst_finding_escaped(scene: Scene) -> None:
    scene.cluster.broker.ensure_topic("<script>alert(1)</script>")
    cluster = Cluster(scene.cluster.broker, clock=scene.clock, glance=glance)
    assert "&lt;Cluster memory://" in cluster._repr_html_()
    for _ in range(12):
        scene.cluster.publish("<script>alert(1)</script>", "shop:send")
        scene.clock.advance(5)
        shown = cluster._repr_html_()
    assert "no_consumer" in shown
    assert "<script>" not in shown
    assert "tt.diagnose(cluster)" in shown


def test_a_cluster_that_does_not_answer_is_shown_all_the_same(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()

    def wait(**_options: Any) -> ClusterState:
        answer.wait(60)
        raise BrokerTimeout("no answer")

    monkeypatch.setattr(scene.cluster.broker, "cluster_state", wait)
    assert "No answer within" in glance(scene.cluster, within=0.05)
    answer.set()


def test_a_closed_cluster_is_shown_as_closed(scene: Scene) -> None:
    cluster = Cluster(MemoryBroker(scene.server), clock=scene.clock, glance=glance)
    cluster.close()
    assert "closed" in cluster._repr_html_()


def test_a_recording_shows_its_worst_finding_at_each_moment(scene: Scene) -> None:
    advertise(scene)
    scene.tick(1)
    history = scene.history(glance=glance)
    assert "advertised_not_consumed" in history._repr_html_()
    assert (
        "advertised_not_consumed" not in history.at(moment(scene.clock.time() - 57))._repr_html_()
    )


# --- secrets ----------------------------------------------------------------------------


def test_a_secret_in_a_name_is_masked_wherever_it_is_not_acted_by(tmp_path: Path) -> None:
    secret = "hunter2-0f8Q"
    name = f"emails password={secret}"
    scene = Scene(tmp_path / "ops.db")
    scene.cluster.broker.ensure_topic(name)
    scene.beat(f"w token={secret}", topics=(name,), host=f"amqp://u:{secret}@h")
    scene.cluster.broker.publish(name, {"task_name": "shop:send", "task_id": "t1"})
    for _ in range(12):
        scene.tick()
    scene.recorder.close()
    for cluster in (scene.cluster, scene.history()):
        findings = tt.diagnose(cluster)
        assert name in set(findings["subject"])
        texts = findings.drop(columns=["subject", "because", "call"])
        timeline = tt.timeline(cluster, since="1h").drop(columns="subject")
        assert secret not in texts.to_csv() + timeline.to_csv()
        assert secret not in str(findings.attrs) + cluster._repr_html_()
        assert "•••" in findings["finding"].tolist()[0]
        cluster.close()


def test_nothing_beside_a_frame_is_typeset() -> None:
    """A topic called ``$x$`` was a formula of MathJax in the sentences under the frame."""
    with tt.connect("memory://") as cluster:
        findings = Findings(tt.diagnose(cluster, settle=0))
        for html in (cluster._repr_html_(), str(findings._repr_html_()).rpartition("<div")[2]):
            assert html.count("mathjax_ignore") == max(html.count("<div"), 1)


# --- moments that were not recorded -----------------------------------------------------


@pytest.mark.parametrize("at", [-3600, 90, 86_400], ids=["before", "in a gap", "after"])
def test_of_a_moment_that_was_not_recorded_nothing_is_ruled_out(scene: Scene, at: float) -> None:
    """33 checks were ruled out at any moment outside of a recording, and in its gaps."""
    scene.tick()
    scene.recorder.close()
    scene.clock.advance(180)
    scene.recorder = scene.new_recorder()
    scene.tick()
    with scene.history() as history:
        findings = tt.diagnose(history, at=moment(START + at))
        assert set(findings["verdict"]) == {"cannot tell"}
        recorded = tt.diagnose(history)
        assert "ruled out" in set(recorded["verdict"])
