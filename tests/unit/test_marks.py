"""Marks of operators: who keeps them, and which texts are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.cli import main
from tasktools.cluster.cluster import Cluster
from tasktools.core import events, marks
from tasktools.core.errors import PublishingBlocked
from tasktools.core.events import Malformed, SettingsUpdate
from tasktools.core.layout import FP
from tasktools.core.marks import Mark
from tasktools.core.models import TopicSettings
from tasktools.history.broker import HistoryBroker
from tasktools.history.recorder import Recorder
from tasktools.history.store import File
from tests.recorded import START, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db")
    yield scene
    scene.close()


@pytest.fixture
def other(scene: Scene, tmp_path: Path) -> Iterator[Recorder]:
    """A recorder of another client of the same cluster."""
    broker = MemoryBroker(scene.server, layout=FP, clock=scene.clock)
    with Cluster(broker, clock=scene.clock) as cluster:
        recorder = cluster.record(tmp_path / "other.db", every=5.0)
        recorder.open()
        yield recorder
        recorder.close()


def recorded_marks(path: Path) -> list[tuple[float, str]]:
    broker = HistoryBroker(File(path))
    frame = Cluster(broker, clock=broker.clock).marks()
    return [
        (at.timestamp() - START, text) for at, text in zip(frame["at"], frame["text"], strict=True)
    ]


def test_a_mark_is_in_every_recording_once(scene: Scene, other: Recorder) -> None:
    scene.tick()
    frame = scene.cluster.mark(" deploy 1.4 ")
    assert frame["text"].tolist() == ["deploy 1.4"]
    assert frame.attrs["sent"] is True
    assert "pid" in frame["who"][0]
    scene.tick()
    other.tick()
    scene.cluster.mark("deploy 1.5")
    scene.tick()
    both = [(5, "deploy 1.4"), (10, "deploy 1.5")]
    assert recorded_marks(scene.path) == both
    assert recorded_marks(Path(other.recording.name.removeprefix("sqlite:///"))) == both[:1]
    live = scene.cluster.marks()
    assert live["text"].tolist() == ["deploy 1.4", "deploy 1.5"]
    assert scene.history().cluster_events().empty


def test_of_two_marks_of_one_text_both_are_kept(scene: Scene) -> None:
    scene.cluster.mark("restarted")
    scene.clock.advance(1)
    scene.cluster.mark("restarted")
    scene.tick()
    assert recorded_marks(scene.path) == [(0, "restarted"), (1, "restarted")]


def test_marks_of_the_same_millisecond_are_in_the_order_in_which_they_came(scene: Scene) -> None:
    texts = [f"deploy 1.{n}" for n in range(20)]
    for text in texts:
        scene.cluster.mark(text)
    scene.tick(0)
    assert scene.cluster.marks()["text"].tolist() == texts


def test_a_read_only_cluster_keeps_its_marks_to_itself(scene: Scene, other: Recorder) -> None:
    scene.tick()
    broker = MemoryBroker(scene.server, layout=FP, clock=scene.clock, read_only=True)
    with Cluster(broker, clock=scene.clock) as reader:
        frame = reader.mark("I was here")
        assert frame.attrs["sent"] is False
        assert "only this process and its recorders keep this mark" in frame.attrs["notes"][0]
        assert reader.marks()["text"].tolist() == ["I was here"]
    other.tick()
    assert recorded_marks(Path(other.recording.name.removeprefix("sqlite:///"))) == []


def test_a_mark_that_cannot_be_sent_is_kept_here(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 13: an operator marks above all in an incident, when an alarm may block publishers."""

    def blocked(*_events: Any) -> None:
        raise PublishingBlocked("Nothing was sent: memory alarm on rabbit@a.")

    monkeypatch.setattr(scene.cluster.broker, "broadcast", blocked)
    frame = scene.cluster.mark("purged the cache")
    assert frame.attrs["sent"] is False
    assert "memory alarm on rabbit@a" in frame.attrs["notes"][0]
    scene.tick()
    assert [text for _, text in recorded_marks(scene.path)] == ["purged the cache"]


def test_a_recording_is_not_marked(scene: Scene) -> None:
    scene.tick()
    with pytest.raises(tt.ReadOnly, match=r"This is a recording.*nothing was marked"):
        scene.history().mark("too late")


def test_secrets_in_a_mark_are_masked_where_it_is_shown(scene: Scene) -> None:
    text = "moved to amqp://ops:hunter2@10.0.0.7"
    assert "hunter2" not in scene.cluster.mark(text).to_string()
    scene.tick()
    for cluster in (scene.cluster, scene.history()):
        assert "hunter2" not in cluster.marks().to_string()
        assert len(cluster.marks()) == 1
    assert "hunter2" not in repr(Mark(sender_id="x", mark="m", text=text))


def test_a_mark_is_as_old_as_samples_become(scene: Scene) -> None:
    scene.cluster.mark("deploy 1.4")
    scene.say(SettingsUpdate(sender_id="n", topic="emails", settings=TopicSettings()))
    scene.tick()
    scene.clock.advance(8 * 86_400)
    scene.tick()
    history = scene.history()
    assert history.cluster_events(since="30D").empty
    assert history.marks(since="30D")["text"].tolist() == ["deploy 1.4"]
    scene.clock.advance(90 * 86_400)
    scene.tick()
    assert scene.history().marks(since="365D").empty


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 200 characters, not 0"),
        ("  \n", "1 to 200 characters, not 0"),
        ("x" * 201, "1 to 200 characters, not 201"),
        ("two\nlines", r"one line of visible characters, not 'two\\\\nlines'"),
        ("\x1b[2Jgone", "one line of visible characters"),
        ("a\u202eb", "one line of visible characters"),
    ],
)
def test_a_text_that_is_no_line_of_words_is_refused(text: str, why: str, scene: Scene) -> None:
    with pytest.raises(ValueError, match=f"{why}.*; nothing was marked"):
        scene.cluster.mark(text)
    assert scene.cluster.marks().empty
    strange = Mark(sender_id="x", mark="m", text=text)
    assert isinstance(events.parse(events.encode(strange)), Malformed)


@pytest.mark.parametrize("mark", [None, {"id": "m"}, {"id": "m" * 65, "text": "x"}, {"text": "x"}])
def test_an_event_without_what_makes_it_a_mark_is_malformed(mark: Any) -> None:
    assert marks.parse("sender", mark) is None


def test_the_command_marks_and_says_when() -> None:
    result = CliRunner().invoke(main, ["mark", "deploy 1.4", "--dsn", "demo://"])
    assert result.exit_code == 0
    assert result.stderr.startswith("Marked at 20")
    assert result.stderr.endswith(" UTC: deploy 1.4\n")


def test_the_command_fails_where_nobody_would_keep_the_mark() -> None:
    result = CliRunner().invoke(main, ["mark", "deploy 1.4", "--dsn", "demo://", "--read-only"])
    assert result.exit_code == 1
    assert "Nothing was marked: this cluster was opened with read_only=True\n" in result.stderr
    wrong = CliRunner().invoke(main, ["mark", "a\x07b", "--dsn", "demo://"])
    assert wrong.exit_code == 2
    assert "\x07" not in wrong.output
