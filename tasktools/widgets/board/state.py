"""The state of the board: what was chosen, and everything that is on screen. No widgets here."""

from __future__ import annotations

from typing import Any

import traitlets

from tasktools.widgets.board.charts import WINDOWS
from tasktools.widgets.board.tiles import Tile
from tasktools.widgets.state import SharedState


class BoardState(SharedState):
    """The state of the board. Set `window`, `filter` and `paused`, call the rest.

    While it is paused, all else stays as it is.
    """

    # entered
    window = traitlets.Enum(tuple(WINDOWS))
    filter = traitlets.Unicode()  # a part of the names of the topics that are shown, in any case
    paused = traitlets.Bool(default_value=False)
    hidden = traitlets.Tuple()  # topics whose lines are not drawn

    # found out by the feed
    topics = traitlets.Tuple()  # all that are shown, by themselves or in "other"
    workers = traitlets.Tuple()
    newest_at = traitlets.Float(None, allow_none=True)  # time of the newest point, epoch seconds
    ended = traitlets.Bool(default_value=False)  # the recording goes no further
    since = traitlets.Unicode()  # when what is known begins, if that is within the window
    gaps = traitlets.Int()  # in the window: spans of which nothing is recorded
    tiles = traitlets.Tuple()  # `Tile`s: the numbers of the moment
    reading = traitlets.Unicode()  # how much of the window is read, in words, else empty
    revision = traitlets.Int()  # one more with each look

    # what follows
    status = traitlets.Tuple()  # words on how far what is shown can be relied on

    def tile(self, name: str) -> Tile:
        """Return the tile called *name*. Raises `KeyError`."""
        with self.lock:
            found: dict[str, Tile] = {tile.name: tile for tile in self.tiles}
            return found[name]

    def hide(self, topic: str) -> None:
        """Draw the lines of *topic* no more, or again."""
        with self.lock:
            if topic in self.hidden:
                self.hidden = tuple(name for name in self.hidden if name != topic)
            else:
                self.hidden = (*self.hidden, topic)

    def isolate(self, topic: str) -> None:
        """Draw the lines of *topic* alone, or all again."""
        with self.lock:
            others = tuple(name for name in (*self.topics, "other") if name != topic)
            self.hidden = () if set(self.hidden) == set(others) else others

    @traitlets.observe("paused", "ended", "since", "gaps", "reading", "filter", "topics")
    def _tell(self, _change: Any) -> None:
        topics = len(self.topics)
        matching = "1 topic matches" if topics == 1 else f"{topics:,} topics match"
        gaps = "1 gap" if self.gaps == 1 else f"{self.gaps:,} gaps"
        told = (
            ("paused", self.paused),
            (self.reading, bool(self.reading)),
            ("the recording goes no further", self.ended),
            (f"known since {self.since}", bool(self.since)),
            (f"{gaps}: nothing was recorded there", self.gaps > 0),
            (matching, bool(self.filter)),
        )
        self.status = tuple(words for words, holds in told if holds)
