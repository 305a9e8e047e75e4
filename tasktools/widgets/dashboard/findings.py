"""The findings and the forecast on the board: a thread that judges the cluster, a tile, and the
marks of topics.

The thread is not the one of the samples: a diagnosis of a thousand topics takes up to a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import TaskToolsError
from tasktools.core.escaping import harmless
from tasktools.core.plurals import counted
from tasktools.diagnosis.diagnose import frame_of
from tasktools.diagnosis.looks import look
from tasktools.widgets import html
from tasktools.widgets.dashboard.board_data import Board
from tasktools.widgets.dashboard.forecasts import FORECAST_SECONDS, DepthForecasts
from tasktools.widgets.dashboard.tiles import UNKNOWN, Tile
from tasktools.widgets.feed import Feed, Post
from tasktools.widgets.finding_lines import FindingLines, finding_lines

_LOOK_SECONDS: Final = 10.0
_MAX_SHARE: Final = 0.05  # of a core; 200 topics and 200 workers take 0.35 to 0.7 s a time
_ABOUT_TOPICS: Final = ("topic", "queue")
LOOKING: Final = "looking …"
_NAME, _TITLE = "findings", "Findings"

Marks = Mapping[str, tuple[str, str]]
"""Severity and sentence of the worst finding about each topic that has one."""


class FindingsFeed(Feed):
    """Judges *cluster* every 10 s, or less often if that takes long, and sends the worst finding to
    the state. Every 30 s it sends a forecast of when the longest queue on *board* is empty.

    A recording is judged once, and again when it has grown.
    """

    def __init__(
        self,
        cluster: Cluster,
        board: Board,
        receive: Callable[[Mapping[str, Any]], object],
        post: Post,
    ) -> None:
        super().__init__("findings", self._look_around, receive, post)
        self._cluster = cluster
        self._forecasts = DepthForecasts(cluster, board)
        self._forecast_at = float("-inf")
        self._hidden: frozenset[str] = frozenset()
        self._paused = False
        self._listed = ""
        self._judged_end: int | None = None

    def want(self, *, paused: bool, hidden: Iterable[str]) -> None:
        """Send nothing to the state while *paused*; forecast no queue of a topic that is
        *hidden*."""
        was, self._paused = self._paused, paused
        before, self._hidden = self._hidden, frozenset(hidden)
        if self._hidden != before:
            self._forecast_at = float("-inf")
        if (was and not paused) or self._hidden != before:
            self.look_soon()

    def list_tasks(self, topic: str) -> None:
        """List the running tasks of *topic* at each look from now on; "" for none."""
        self._listed = topic
        if topic:
            self.look_soon()

    def _look_around(self) -> float:
        began = time.thread_time()
        self._list_tasks()
        if not self._paused:
            try:
                self._judge()
                self._forecast()
            except TaskToolsError as error:  # the feed of the samples tells it as a problem
                self.tell(
                    finding=unknown_tile(self._cluster.redaction.text(str(error))),
                    marks={},
                    forecast={},
                )
            except BaseException:
                self.tell(finding=unknown_tile("the diagnosis failed"), marks={}, forecast={})
                raise
        return pause_after(time.thread_time() - began)

    def _list_tasks(self) -> None:
        topic = self._listed
        if not topic:
            return
        try:  # without a look into the queue, which can cost more
            tasks: Any = self._cluster.active_tasks(topic, queued=False)
            shown = str(tasks._repr_html_())
        except TaskToolsError as error:
            shown = html.alert(self._cluster.redaction.text(str(error)))
        if topic == self._listed:
            self.tell(tasks=shown)

    def _judge(self) -> None:
        cluster = self._cluster
        if cluster.is_recorded:
            with cluster.sampled() as reader:
                end = reader.until
            if end == self._judged_end:
                return
            self._judged_end = end
        # Workers get no time to speak: the sampler would wait for them, and the board with it.
        frame = frame_of(look(cluster, settle=0.0, wait=0.0), cluster)
        findings = finding_lines(frame, cluster.redaction)
        self.tell(finding=findings_tile(findings), marks=marks_of(findings))

    def _forecast(self) -> None:
        """Forecast the longest queue, if that is due."""
        now = time.monotonic()
        if now - self._forecast_at >= FORECAST_SECONDS:
            forecast = self._forecasts.look(self._hidden)
            is_done = forecast or self._forecasts.waits  # else the board may not be read yet
            self._forecast_at = now if is_done else float("-inf")
            self.tell(forecast=forecast)


def pause_after(spent: float) -> float:
    """Return the seconds until the next diagnosis, after one that took *spent* seconds of a core.

    >>> pause_after(0.02), pause_after(1.0)
    (10.0, 20.0)
    """
    return max(_LOOK_SECONDS, spent / _MAX_SHARE)


def findings_tile(findings: FindingLines) -> Tile:
    """Return the worst of *findings* as a tile; "?" if most checks cannot tell."""
    lines = findings.lines
    if lines:
        worst = lines[0]
        more = f"{len(lines) - 1:,} more" if len(lines) > 1 else ""
        since = f"since {worst.since} UTC" if worst.since else ""
        words = worst.severity if worst.severity != "suspect" else "suspected"
        note = " · ".join(filter(None, (words, since, more, f"judged {findings.judged_at}")))
        alarm = f"▲ {note}" if worst.severity != "suspect" else ""
        text = harmless(worst.finding)
        return Tile(_NAME, _TITLE, text, note, alarm, float(len(lines)), worst.severity)
    ruled_out, unknown = len(findings.ruled_out), len(findings.unknown)
    if unknown >= ruled_out:
        return unknown_tile(harmless(findings.unknown[0]) if unknown else "nothing was judged")
    words = f"{counted(ruled_out, 'check')} ruled out"
    note = f"{words}, {unknown:,} cannot tell" if unknown else words
    text = harmless(findings.nothing)
    return Tile(_NAME, _TITLE, text, f"{note} ({findings.judged_at})", value=0.0)


def unknown_tile(why: str) -> Tile:
    """Return the tile for findings that are not known, and *why*."""
    return Tile(_NAME, _TITLE, UNKNOWN, why)


def marks_of(findings: FindingLines) -> Marks:
    """Return the topics with a finding; of several findings about a topic, the first."""
    marks: dict[str, tuple[str, str]] = {}
    for line in findings.lines:
        if line.subject_kind in _ABOUT_TOPICS:
            marks.setdefault(harmless(line.name), (line.severity, harmless(line.finding)))
    return marks
