"""The findings on the board: the tile of the worst, the topics with one, and the way to them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import BrokerError
from tasktools.widgets import Dashboard, DeadLettersWidget, IncidentWidget, PublishWidget
from tasktools.widgets.dashboard.findings import findings_tile, marks_of
from tasktools.widgets.finding_lines import FindingLine, FindingLines
from tests.recorded import Scene
from tests.screen import WidgetScreen

LOOKING = "looking …"
MARKUP = "<script>window.pwned=1</script>"


def line(severity: str = "critical", subject: str = "orders", **values: Any) -> FindingLine:
    texts = dict.fromkeys(("check", "since", "effect", "cause", "remedy", "call", "sources"), "")
    empty: dict[str, Any] = {"depth": 0, "evidence": (), "against": (), "changed": ()}
    named = {
        "name": subject,
        "subject_kind": "topic",
        "finding": f"{subject} stands still.",
        **values,
    }
    return FindingLine(
        **{**texts, **empty, "key": subject, "severity": severity, "subject": subject, **named}
    )


def findings(
    *lines: FindingLine, unknown: tuple[str, ...] = (), ruled_out: int = 0
) -> FindingLines:
    return FindingLines(
        lines=lines,
        unknown=unknown,
        ruled_out=("Ruled out.",) * ruled_out,
        notes=(),
        judged_at="12:00:00 UTC",
    )


# --- the tile ---------------------------------------------------------------------------


def test_the_worst_finding_is_the_tile_and_its_severity_the_alarm() -> None:
    tile = findings_tile(findings(line(since="11:58:00"), line("warning"), line("suspect")))
    assert (tile.text, tile.value) == ("orders stands still.", 3)
    assert (tile.severity, tile.alarm) == (
        "critical",
        "▲ critical · since 11:58:00 UTC · 2 more · judged 12:00:00 UTC",
    )
    suspected = findings_tile(findings(line("suspect"), ruled_out=40))
    assert (suspected.note, suspected.alarm) == ("suspected · judged 12:00:00 UTC", "")


def test_nothing_found_says_how_much_was_judged() -> None:
    tile = findings_tile(findings(ruled_out=46, unknown=("Cannot tell of x.",)))
    assert (tile.text, tile.value, tile.alarm) == ("nothing found", 0, "")
    assert tile.note == "46 checks ruled out, 1 cannot tell (12:00:00 UTC)"


@pytest.mark.parametrize(("ruled_out", "unknown"), [(0, 0), (0, 40), (10, 20)])
def test_where_most_cannot_be_told_it_is_unknown_and_no_zero(ruled_out: int, unknown: int) -> None:
    tile = findings_tile(findings(ruled_out=ruled_out, unknown=("No events.",) * unknown))
    assert (tile.text, tile.value, tile.severity) == ("?", None, "")
    assert tile.note == ("No events." if unknown else "nothing was judged")


def test_a_topic_is_marked_with_the_worst_finding_about_it() -> None:
    marks = marks_of(
        findings(
            line(finding="The cause."),
            line("warning", finding="Its symptom."),
            line("warning", "emails\u202e", subject_kind="queue"),
            line(subject="worker-1", subject_kind="worker"),
        )
    )
    assert marks == {
        "orders": ("critical", "The cause."),
        "emails\\u202e": ("warning", "emails\\u202e stands still."),
    }


# --- on the board -----------------------------------------------------------------------


class Screen(WidgetScreen[Dashboard]):
    """The board of a cluster, once it has been judged."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(lambda post: Dashboard(cluster, window="1m", post=post))
        self.state = self.widget.state
        self.until(lambda: self.state.finding.note != LOOKING)

    def ask(self, what: str, **more: Any) -> None:
        """Ask for what the page asks for."""
        figure: Any = self.widget.children[0]
        message = {"data": {"method": "custom", "content": {"do": what, **more}}}
        figure._handle_msg({"content": message, "buffers": []})

    @property
    def incidents(self) -> list[IncidentWidget]:
        return self.all(IncidentWidget)


@pytest.fixture
def show() -> Iterator[Callable[[Cluster], Screen]]:
    opened: list[Screen] = []

    def show(cluster: Cluster) -> Screen:
        opened.append(Screen(cluster))
        return opened[-1]

    yield show
    for screen in opened:
        screen.widget.close()


Show = Callable[[Cluster], Screen]


@pytest.fixture
def incident() -> Iterator[Cluster]:
    with tt.connect("demo://?incident=bad_deploy") as cluster:
        yield cluster


def test_the_page_gets_the_worst_finding_and_the_marks(show: Show, incident: Cluster) -> None:
    screen = show(incident)
    figure: Any = screen.widget.children[0]
    shown = json.loads(json.dumps(figure.shown))
    assert shown["finding"]["text"].startswith("The dead letters of 'orders' grew by")
    assert shown["finding"]["severity"] == "critical"
    assert shown["marks"]["orders"] == ["critical", shown["finding"]["text"]]
    assert shown["investigating"] is False
    assert screen.state.tile("findings") == screen.state.finding


def test_a_click_opens_the_incident_below_the_board_and_another_one_closes_it(
    show: Show, incident: Cluster
) -> None:
    screen = show(incident)
    assert screen.incidents == []
    screen.ask("investigate", topic="")
    (opened,) = screen.incidents
    screen.until(lambda: not opened.state.at_work)
    assert opened.state.findings is not None
    assert opened.state.chosen == ""
    screen.ask("investigate", topic="")
    assert screen.incidents == []
    assert not opened.feed.alive
    assert screen.state.problem == ""


def test_the_mark_of_a_topic_opens_its_finding_and_the_board_closes_it(
    show: Show, incident: Cluster
) -> None:
    screen = show(incident)
    screen.ask("investigate", topic="orders")
    (opened,) = screen.incidents
    screen.until(lambda: opened.state.line)
    assert opened.state.line is not None
    assert opened.state.line.check == "dead_growing"
    screen.ask("investigate", topic="orders")  # it stays
    assert screen.incidents == [opened]
    screen.widget.close()
    assert not opened.feed.alive


def test_the_menu_of_a_topic_opens_what_belongs_to_it_one_at_a_time(
    show: Show, incident: Cluster
) -> None:
    screen = show(incident)
    screen.ask("open", part="dead letters", topic="orders")
    (letters,) = screen.all(DeadLettersWidget)
    assert letters.state.topic == "orders"
    screen.ask("open", part="publish", topic="emails")
    assert screen.all(DeadLettersWidget) == []
    assert not letters.feed.alive
    (publish,) = screen.all(PublishWidget)
    assert publish.state.topic == "emails"
    screen.ask("open", part="tasks", topic="exports")
    assert not publish.feed.alive
    screen.until(lambda: "active tasks" in screen.html)
    assert "exports" in screen.state.tasks
    screen.labelled("Close tasks").click()
    assert (screen.state.opened, screen.state.tasks) == ("", "")
    assert "active tasks" not in screen.html
    assert screen.state.problem == ""


def test_a_topic_that_is_gone_has_no_tasks_and_the_finding_stays(
    show: Show, incident: Cluster
) -> None:
    screen = show(incident)
    screen.ask("open", part="tasks", topic="no-such")
    screen.until(lambda: screen.state.tasks)
    assert 'role="alert"' in screen.state.tasks
    assert screen.state.finding.text != "?"


def test_where_nothing_can_be_published_the_menu_says_why(show: Show, tmp_path: Path) -> None:
    with tt.connect("demo://", read_only=True) as cluster:
        figure: Any = show(cluster).widget.children[0]
        assert "read-only" in figure.head["refusals"]["publish"]
    with contextlib.closing(Scene(tmp_path / "ops.db")) as scene:
        scene.tick()
        recorded: Any = show(scene.history()).widget.children[0]
        assert "recording" in recorded.head["refusals"]["publish"]


def test_while_it_is_paused_the_finding_stays(show: Show, incident: Cluster) -> None:
    screen = show(incident)
    before = screen.state.finding
    screen.state.paused = True
    screen.widget.feed._findings._look_around()
    screen.until(lambda: True)
    assert screen.state.finding is before
    screen.state.paused = False
    screen.until(lambda: screen.state.finding is not before)


def test_a_broker_that_does_not_answer_is_unknown_and_not_fine(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any, **_options: Any) -> Any:
        raise BrokerError("the node is down, password=hunter2-0f8Q")

    with MemoryBroker() as broker, Cluster(broker) as cluster:
        broker.ensure_topic("emails")
        for method in ("topic_report", "cluster_state", "server_facts"):
            monkeypatch.setattr(broker, method, fail)
        screen = show(cluster)
        assert (screen.state.finding.text, screen.state.finding.value) == ("?", None)
        assert screen.state.finding.note
        assert "hunter2" not in screen.state.finding.note


def test_a_recording_is_judged_once_and_again_when_it_goes_on(show: Show, tmp_path: Path) -> None:
    with contextlib.closing(Scene(tmp_path / "ops.db")) as scene:
        for _ in range(5):
            scene.beat(tasks=["t"], topics=("emails",))
            scene.tick()
        screen = show(scene.history())
        first = screen.state.finding
        feed = screen.widget.feed._findings
        feed._look_around()
        screen.until(lambda: True)
        assert screen.state.finding is first
        scene.tick()
        feed._look_around()
        screen.until(lambda: screen.state.finding is not first)
