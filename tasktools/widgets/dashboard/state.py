"""State of the board: the user's choices, and everything on screen. No widgets here."""

from __future__ import annotations

from typing import Any, Final

import traitlets

from tasktools.core.plurals import counted
from tasktools.widgets.dashboard.charts import WINDOWS
from tasktools.widgets.dashboard.findings import LOOKING, unknown_tile
from tasktools.widgets.dashboard.tiles import Tile
from tasktools.widgets.state import SharedState

OPENED: Final = ("tasks", "dead letters", "publish")
"""Parts about a topic that can be opened below the board, beside the incident."""


class BoardState(SharedState):
    """The state of the board. Set `window`, `filter` and `paused`, and call the methods.

    While `paused` is true, everything else stays as it is.
    """

    # set by the user
    window = traitlets.Enum(tuple(WINDOWS))
    filter = traitlets.Unicode()  # part of the names of the topics to show, in any case
    paused = traitlets.Bool(default_value=False)
    hidden = traitlets.Tuple()  # topics whose lines are not drawn
    investigating = traitlets.Bool(default_value=False)  # whether the incident is open below
    investigated = traitlets.Unicode()  # topic whose finding is chosen there, else empty
    opened = traitlets.Enum(("", *OPENED), default_value="")  # open below, about `opened_topic`
    opened_topic = traitlets.Unicode()

    # set by the feed
    topics = traitlets.Tuple()  # shown topics, by themselves or in "other"
    workers = traitlets.Tuple()
    newest_at = traitlets.Float(None, allow_none=True)  # time of the newest point, epoch seconds
    ended = traitlets.Bool(default_value=False)  # whether the recording has ended
    since = traitlets.Unicode()  # time of the first sample, if that is within the window
    gaps = traitlets.Int()  # number of times in the window without samples
    tiles = traitlets.Tuple()  # `Tile`s: the numbers of the moment
    notes = traitlets.Tuple()  # why figures are missing, in words
    reading = traitlets.Unicode()  # progress of reading the window, in words, else empty
    revision = traitlets.Int()  # increases with each sample
    finding = traitlets.Instance(Tile)  # the tile of the worst finding
    marks: traitlets.Dict[str, Any] = traitlets.Dict()  # topics with a finding: `Marks`
    forecast: traitlets.Dict[str, Any] = traitlets.Dict()  # of the longest queue: `Shown`, or empty
    tasks = traitlets.Unicode()  # running tasks of `opened_topic` as HTML, else empty

    # derived
    status = traitlets.Tuple()  # remarks on the reliability of the numbers

    @property
    def at_work(self) -> bool:
        """Whether the window is still being read."""
        return bool(self.reading) or (self.newest_at is None and not self.problem)

    def tile(self, name: str) -> Tile:
        """Return the tile called *name*. Raises `KeyError`."""
        with self.lock:
            by_name: dict[str, Tile] = {tile.name: tile for tile in (self.finding, *self.tiles)}
            return by_name[name]

    def hide(self, topic: str) -> None:
        """Hide the lines of *topic*; if they are hidden already, show them again."""
        with self.lock:
            if topic in self.hidden:
                self.hidden = tuple(name for name in self.hidden if name != topic)
            else:
                self.hidden = (*self.hidden, topic)

    def isolate(self, topic: str) -> None:
        """Show only the lines of *topic*; if it is alone already, show all lines again."""
        with self.lock:
            others = tuple(name for name in (*self.topics, "other") if name != topic)
            self.hidden = () if set(self.hidden) == set(others) else others

    def investigate(self, topic: str = "") -> None:
        """Open the incident below the board at the finding about *topic*; without a topic, open or
        close it."""
        with self.lock, self.hold_trait_notifications():
            self.investigating = bool(topic) or not self.investigating
            self.investigated = topic

    def open(self, part: str, topic: str) -> None:
        """Open *part* (`OPENED`) about *topic* below the board, in place of the part open
        before."""
        with self.lock, self.hold_trait_notifications():
            if (part, topic) != (self.opened, self.opened_topic):
                self.opened, self.opened_topic, self.tasks = part, topic, ""

    def close(self) -> None:
        """Close what `open` has opened."""
        self.open("", "")

    @traitlets.default("finding")
    def _not_judged(self) -> Tile:
        return unknown_tile(LOOKING)

    @traitlets.observe("paused", "ended", "since", "gaps", "reading", "filter", "topics", "notes")
    def _tell(self, _change: Any) -> None:
        topics = len(self.topics)
        matching = "1 topic matches" if topics == 1 else f"{topics:,} topics match"
        remarks = (
            ("paused", self.paused),
            (self.reading, bool(self.reading)),
            ("the recording goes no further", self.ended),
            (f"known since {self.since}", bool(self.since)),
            (f"{counted(self.gaps, 'gap')}: nothing was recorded there", self.gaps > 0),
            (matching, bool(self.filter)),
        )
        self.status = (*(words for words, holds in remarks if holds), *self.notes)
