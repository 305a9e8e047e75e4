"""The first part of the state: where to look, and what was found. No widgets here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import traitlets

from tasktools.core import peek
from tasktools.core.clock import Clock, SystemClock, moment
from tasktools.core.errors import LookRefused
from tasktools.core.peek import Cost
from tasktools.widgets.state import SharedState
from tasktools.widgets.table import Column, TableState
from tasktools.widgets.triage.detail import Detail
from tasktools.widgets.triage.groups import BY, Group, Groups, groups_of
from tasktools.widgets.triage.orders import (
    Judged,
    Looked,
    LookOrder,
    MessageOrder,
    Order,
    TopicCount,
    Whole,
)

COLUMNS: Final = (
    Column("task_name", "Task", width=140),
    Column("reason", "Reason", width=86),
    Column("error_type", "Error", width=120),
    Column("error", "Message", width=330, grow=True),
    Column("deaths", "Deaths", "count", 66),
    Column("replays", "Replays", "count", 76),
    Column("last_death", "Died", "time", 84),
    Column("published_at", "Published", "time", 84),
    Column("size", "Size", "size", 70),
    Column("problem", "Problem", width=120),
    Column("kwargs", "Arguments", "json", 300),
    Column("task_id", "Task id", "id", 230),
)


class LookingState(SharedState):
    """Choose `topic` and call `look()`; then `group_by`, `choose`, and the table's `filter`,
    `sort` and selection say which dead letters are meant."""

    # entered
    topic = traitlets.Unicode()
    group_by = traitlets.Enum(tuple(BY.values()), default_value="fingerprint")
    group = traitlets.Instance(Group, allow_none=True)

    # found out by the feed
    topics = traitlets.Tuple()  # of TopicCount
    judged = traitlets.Instance(Judged, allow_none=True)
    looked = traitlets.Instance(Looked, allow_none=True)
    whole = traitlets.Instance(Whole, allow_none=True)
    busy = traitlets.Unicode()  # what the feed is doing for an order, in words, else empty
    look_refusal = traitlets.Unicode()  # why the last look was refused, in words
    message_refusal = traitlets.Unicode()

    # what follows
    choices = traitlets.Tuple()  # (text, topic), those with most dead letters first
    cost = traitlets.Unicode()  # what a look costs, in words
    look_blockers = traitlets.Tuple()
    can_look = traitlets.Bool(default_value=False)
    groups = traitlets.Instance(Groups, args=())
    words = traitlets.Unicode()  # what the last look has shown
    has_looked = traitlets.Bool(default_value=False)
    detail = traitlets.Instance(Detail, allow_none=True)
    can_show_whole = traitlets.Bool(default_value=False)
    order = traitlets.Any()  # of the kind `Order`: what the feed is to do

    def __init__(
        self, *, topic: str | None = None, read_only: bool = False, clock: Clock | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self.table = TableState(COLUMNS, clock=self._clock)
        self.__dict__["_lock"] = self.table.lock  # what is selected there is followed here
        super().__init__()
        self.read_only = read_only
        self.table.observe(self._open, "current")
        self.topic = topic or ""
        self._derive_look()

    # --- what the buttons do --------------------------------------------------------

    def look(self) -> bool:
        """Order a look. Says whether it could: if not, `look_blockers` say why."""
        with self.lock:
            if self.can_look:
                self.look_refusal = ""
                self._give(LookOrder(self.topic), f"Looking at the dead letters of {self.topic} …")
                return True
        return False

    def choose(self, name: str | None) -> None:
        """Show only the group called *name*; once more: all."""
        with self.lock:
            group = Group(self.group_by, name)
            self.group = None if self.group == group else group

    def show_whole(self) -> bool:
        """Fetch the current message with all its properties. Says whether it could."""
        with self.lock:
            key = self.table.current
            if not self.can_show_whole or self.looked is None or key is None:
                return False
            self.message_refusal = ""
            self._give(MessageOrder(self.looked.queue, key), "Fetching the message …")
            return True

    def _give(self, order: Order, busy: str) -> None:
        self.busy = busy
        self.order = order

    # --- what follows ---------------------------------------------------------------

    @traitlets.observe("topics", "topic")
    def _list_choices(self, _change: Any) -> None:
        known = sorted(self.topics, key=lambda one: (-(one.dead or 0), one.topic))
        if not self.topic and known:
            self.topic = known[0].topic  # comes here again
            return
        if self.topic and self.topic not in {one.topic for one in known}:
            known.insert(0, TopicCount(self.topic, None))
        self.choices = tuple((_choice(one), one.topic) for one in known)

    @traitlets.observe("topic", "judged", "busy")
    def _derive_look(self, _change: Any = None) -> None:
        judged = self.judged if self.judged and self.judged.topic == self.topic else None
        refusal = "" if judged is None else self._refusal(judged)
        self.cost = "" if judged is None or refusal else _cost(judged)
        self.look_blockers = tuple(self._look_blockers(judged, refusal))
        self.can_look = not self.look_blockers
        self._derive_whole()

    def _refusal(self, judged: Judged) -> str:
        if judged.verdict is None:
            return judged.why
        try:
            peek.check(judged.verdict, read_only=self.read_only, force=False)
        except LookRefused as refusal:
            return str(refusal)
        return ""

    def _look_blockers(self, judged: Judged | None, refusal: str) -> Iterator[str]:
        if not self.topic:
            yield "Choose a topic."
        elif refusal:
            yield refusal
        elif judged is None:
            yield "Finding out what a look would cost …"
        if self.busy:
            yield self.busy

    @traitlets.observe("looked")
    def _show(self, _change: Any) -> None:
        if self.looked is not None:
            self.has_looked = True
            self.whole = None
            self.table.show(self.looked.frame)
            self.words = _shown(self.looked)
            self._group()
            self._turn()

    @traitlets.observe("group_by")
    def _group(self, _change: Any = None) -> None:
        if self.looked is None:
            return
        frame = self.looked.frame
        self.groups = groups_of(frame, self.group_by, moment(self._clock.time()))
        if self.group and (self.group.by != self.group_by or not self.group.mask(frame).any()):
            self.group = None
        else:
            self._keep()

    @traitlets.observe("group")
    def _keep(self, _change: Any = None) -> None:
        if self.looked is not None:
            self.table.keep(None if self.group is None else self.group.mask(self.looked.frame))

    def _open(self, _change: Any) -> None:
        self.message_refusal = ""
        self._turn()

    @traitlets.observe("whole", "message_refusal")
    def _turn(self, _change: Any = None) -> None:
        """Show what is known of the row that is looked at."""
        key = self.table.current
        row = None if self.looked is None or key is None else self.looked.row(key)
        whole = self.whole if self.whole and self.whole.key == key else None
        self.detail = None if row is None else Detail(row, whole, self.message_refusal)
        self._derive_whole()

    def _derive_whole(self) -> None:
        known = self.detail is not None and self.detail.whole is None
        self.can_show_whole = known and not self.busy


def _cost(judged: Judged) -> str:
    if judged.verdict is None:
        return ""
    cost = judged.verdict.cost
    mild = "is harmless: it" if cost is Cost.HARMLESS else f"{cost.value}:"
    return f"A look {mild} {judged.verdict.why}."


def _choice(one: TopicCount) -> str:
    count = "? dead" if one.dead is None else f"{one.dead:,} dead" if one.dead else "none dead"
    return f"{one.topic}  ·  {count}"


def _shown(looked: Looked) -> str:
    count = len(looked.frame)
    letters = "1 message" if count == 1 else f"{count:,} messages"
    note = f" {looked.note}" if looked.note else ""
    return f"{letters} in {looked.queue}.{note}" if count else f"{looked.queue} is empty.{note}"
