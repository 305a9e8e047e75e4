"""The incident widget without a browser: what is found, chosen, looked up and opened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.diagnosis_schemas import FINDINGS
from tasktools.core.redaction import Redaction
from tasktools.widgets import IncidentWidget
from tasktools.widgets.dead_letters import DeadLettersWidget
from tasktools.widgets.finding_lines import FindingLine, finding_lines
from tasktools.widgets.incident.finding_list import FindingList
from tests.screen import WidgetScreen

MARKUP = "<script>window.pwned=1</script>"
SECRET = "hunter2-0f8Q"


class Screen(WidgetScreen[IncidentWidget]):
    """The widget of a cluster, once it has judged and drawn."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(lambda post: IncidentWidget(cluster, post=post))
        self.state = self.widget.state
        self.until(lambda: not self.state.at_work)

    @property
    def lines(self) -> tuple[FindingLine, ...]:
        assert self.state.findings is not None
        return self.state.findings.lines

    @property
    def shown(self) -> FindingList:
        findings: FindingList
        (findings,) = self.all(FindingList)
        return findings

    def choose(self, check: str) -> FindingLine:
        """Click on the first finding of *check*, and wait for what is looked up of it."""
        line = next(line for line in self.lines if line.check == check)
        self.shown._on_message(None, {"key": line.key}, [])
        self.until(lambda: not self.state.at_work)
        return line


@pytest.fixture
def show() -> Iterator[Callable[[str], Screen]]:
    opened: list[tuple[Cluster, Screen]] = []

    def show(dsn: str) -> Screen:
        cluster = tt.connect(dsn)
        opened.append((cluster, Screen(cluster)))
        return opened[-1][1]

    yield show
    for cluster, screen in opened:
        screen.widget.close()
        cluster.close()


Show = Callable[[str], Screen]


def test_incident_is_what_makes_the_widget() -> None:
    with tt.connect("memory://") as cluster:
        widget = tt.widgets.incident(cluster)
        assert isinstance(widget, IncidentWidget)
        widget.close()
    assert not widget.feed.alive


def test_the_cause_comes_first_and_its_symptoms_below_it(show: Show) -> None:
    screen = show("demo://?incident=dead_worker")
    screen.until(lambda: screen.lines[0].severity == "critical")  # by a second look
    first, *others = screen.lines
    assert (first.check, first.severity, first.depth) == ("workers_gone", "critical", 0)
    gone = next(line for line in others if line.check == "worker_gone")
    assert gone.cause.startswith("workers_gone:")
    assert gone.depth == 1
    assert screen.state.findings is not None
    assert len(screen.state.findings.ruled_out) > 20
    assert "ruled out" in screen.html


def test_a_finding_leads_to_its_topic_and_to_its_dead_letters(show: Show) -> None:
    screen = show("demo://?incident=bad_deploy")
    line = screen.choose("dead_growing")
    assert screen.state.topic == line.subject == "orders"
    assert screen.state.looked_up is not None
    assert [title for title, _ in screen.state.looked_up.tables] == ["Topic orders", "Its state"]
    assert "dead_letter" in screen.html
    assert '<span class="tt-quiet">exists</span> yes' in screen.html
    before = screen.state.looked_up
    screen.widget.feed.look_soon()  # what is shown of the topic is as new as the findings
    screen.until(lambda: screen.state.looked_up is not before)
    screen.labelled("Dead letters of its topic").click()
    (opened,) = screen.all(DeadLettersWidget)
    assert opened.state.topic == "orders"
    screen.shown._on_message(None, {"key": line.key}, [])  # folds it, and closes what was opened
    assert screen.state.dead_letters_of == screen.state.topic == ""
    assert screen.all(DeadLettersWidget) == []
    assert not opened.feed.alive


def test_what_the_failures_of_a_topic_have_in_common_is_compared(show: Show) -> None:
    screen = show("demo://?incident=bad_deploy")
    screen.choose("dead_growing")
    assert screen.state.compare()
    screen.until(lambda: screen.state.compared)
    assert screen.state.compared is not None
    ((title, frame),) = screen.state.compared.tables
    assert title.startswith("What ")
    assert list(frame.columns[:2]) == ["field", "value"]


def test_a_finding_about_a_worker_shows_the_worker(show: Show) -> None:
    screen = show("demo://?incident=dead_worker")
    line = screen.choose("worker_gone")
    assert not screen.state.has_topic
    assert not screen.state.compare()
    assert screen.state.looked_up is not None
    ((title, frame), _) = screen.state.looked_up.tables
    assert title == f"Worker {line.subject}"
    assert frame["state"].tolist() == ["gone"]


def test_a_key_that_is_not_shown_chooses_nothing(show: Show) -> None:
    screen = show("demo://")
    screen.shown._on_message(None, {"key": "no:such"}, [])
    assert screen.state.chosen == ""


def test_without_findings_it_says_so() -> None:
    with MemoryBroker() as broker:
        broker.ensure_topic("emails")
        screen = Screen(Cluster(broker))
        assert screen.shown.lines == []
        assert screen.shown.empty == "Nothing found"
        assert "nothing found" in screen.html
        screen.widget.close()


def test_where_nothing_can_be_told_it_says_why() -> None:
    """A broker that does not answer is not one without a finding."""
    frame = one_finding(verdict="cannot tell", severity=None, finding="Cannot tell of a loop.")
    frame.attrs["notes"] = ["queues not used: No RabbitMQ answers"]
    with MemoryBroker() as broker:
        screen = Screen(Cluster(broker))
        screen.state.findings = finding_lines(frame, Redaction())
        assert screen.shown.empty == "No check has a verdict: queues not used: No RabbitMQ answers"
        assert "no check has a verdict, 0 checks ruled out, 1 cannot tell" in screen.html
        screen.widget.close()


def one_finding(**values: object) -> pd.DataFrame:
    """Return a frame of findings with one row; the other values are missing."""
    row: dict[str, object] = {"verdict": "found", "severity": "critical", "check": "no_consumer"}
    row |= {"evidence": {}, "against": {}, "changed": [], "needs": [], **values}
    window = {"since": moment(0.0), "until": moment(60.0)}
    return frame_from(FINDINGS, [[row.get(name) for name in FINDINGS.names]], window=window)


def test_texts_of_others_are_masked_and_go_to_the_page_as_text() -> None:
    frame = one_finding(
        subject=MARKUP,
        finding=f"It ended with amqp://u:{SECRET}@h {MARKUP}.",
        evidence={"error": f"password={SECRET}", "count": 1_234, "share": 0.51234, "who": None},
        changed=[f"token={SECRET}"],
    )
    findings = finding_lines(frame, Redaction())
    (line,) = findings.lines
    assert SECRET not in json.dumps(line.as_json())
    assert line.subject == MARKUP  # the page sets it as text
    assert dict(line.evidence) | {"error": ""} == {
        "error": "",
        "count": "1,234",
        "share": "0.5123",
        "who": "not known",
    }
    assert findings.judged_at == "00:01:00 UTC"


def test_names_with_secrets_are_masked_and_still_looked_up(show: Show) -> None:
    screen = show("demo://")
    names = [f"emails password={SECRET}", f"emails password={SECRET}2"]
    rows = [one_finding(subject_kind="topic", subject=name) for name in names]
    symptom = one_finding(
        check="dead_growing",
        subject_kind="topic",
        subject=names[0],
        because=f"no_consumer:{names[1]}",
    )
    frame = pd.concat([*rows, symptom], ignore_index=True)
    frame.attrs = rows[0].attrs
    findings = finding_lines(frame, Redaction())
    screen.state.findings = findings
    assert SECRET not in json.dumps([screen.shown.lines, screen.shown.folded])
    first, second, below = findings.lines
    assert first.key != second.key
    assert (below.cause, below.depth) == (second.key, 1)
    screen.shown._on_message(None, {"key": second.key}, [])
    assert screen.state.topic == names[1]
