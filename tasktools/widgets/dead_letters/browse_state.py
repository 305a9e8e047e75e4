"""First part of the state: the topic, the look, the groups and the table. No widgets here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import traitlets

from tasktools.core import peek_verdict
from tasktools.core.clock import Clock, SystemClock, moment
from tasktools.core.errors import LookRefused
from tasktools.core.frames.nested_paths import NESTED, is_path
from tasktools.core.peek_verdict import Cost
from tasktools.core.plurals import counted
from tasktools.core.redaction import DEFAULT, Redaction
from tasktools.widgets.dead_letters.detail import Detail
from tasktools.widgets.dead_letters.groups import (
    GROUP_COLUMNS,
    Group,
    Groups,
    choices_of,
    groups_of,
)
from tasktools.widgets.dead_letters.requests import (
    LookOrder,
    LookResult,
    MessageOrder,
    Order,
    TopicCount,
    TopicVerdict,
    WholeMessage,
)
from tasktools.widgets.state import SharedState
from tasktools.widgets.table import Column, TableState

# Those that are seen have room beside each other where JupyterLab is 1280 px wide.
COLUMNS: Final = (
    Column("task_name", "Task", width=120),
    Column("reason", "Reason", width=76),
    Column("error_type", "Error", width=110),
    Column("error", "Message", width=344, grow=True),
    Column("deaths", "Deaths", "count", 64),
    Column("replays", "Replays", "count", 72),
    Column("last_death", "Died", "time", 84),
    Column("published_at", "Published", "time", 84),
    Column("size", "Size", "size", 66),
    Column("problem", "Problem", width=116),
    Column("kwargs", "Arguments", "json", under=True),
    Column("task_id", "Task id", "id", 230),
)

_ASKING: Final = "Finding out what a look would cost …"
_COSTS_IN_WORDS: Final = {
    Cost.HARMLESS: "is harmless: it",
    Cost.EXPIRES: "may let messages expire:",
}


class BrowseState(SharedState):
    """The part of the state that shows and selects dead letters. Set `topic` and call `look()`;
    then select with `group_by`, `choose` and the table's `filter`, `sort` and selection."""

    # set by the user
    topic = traitlets.Unicode()
    group_by = traitlets.Unicode("fingerprint")  # a column, or a path as kwargs.customer.id
    group = traitlets.Instance(Group, allow_none=True)

    # set by the feed
    topics = traitlets.Tuple()  # of TopicCount
    topics_are_read = traitlets.Bool(default_value=False)
    judged = traitlets.Instance(TopicVerdict, allow_none=True)
    looked = traitlets.Instance(LookResult, allow_none=True)
    whole = traitlets.Instance(WholeMessage, allow_none=True)
    busy = traitlets.Unicode()  # the order that the feed works on, in words, else empty
    look_refusal = traitlets.Unicode()  # why the last look was refused, in words
    message_refusal = traitlets.Unicode()

    # derived
    choices = traitlets.Tuple()  # (text, topic), those with most dead letters first
    cost = traitlets.Unicode()  # what a look costs, in words
    look_blockers = traitlets.Tuple()
    can_look = traitlets.Bool(default_value=False)
    takes_look = traitlets.Bool(default_value=False)  # now, or once its cost is known
    group_choices = traitlets.Tuple(choices_of(None))  # (text, column or path)
    groups = traitlets.Instance(Groups, args=())
    words = traitlets.Unicode()  # the result of the last look, in words
    has_looked = traitlets.Bool(default_value=False)
    detail = traitlets.Instance(Detail, allow_none=True)
    can_show_whole = traitlets.Bool(default_value=False)
    order = traitlets.Any()  # an `Order` for the feed

    def __init__(
        self,
        *,
        topic: str | None = None,
        read_only: bool = False,
        redaction: Redaction = DEFAULT,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._early_look = ""  # the topic of a look that was ordered before its cost was known
        self.table = TableState(COLUMNS, clock=self._clock)
        self.table.unseen = ("published_at", "task_id")  # the detail of a row has them
        self.__dict__["_lock"] = self.table.lock  # its changes change this state, too
        super().__init__()
        self.read_only = read_only
        self.redaction = redaction
        self.table.observe(self._open, "current")
        self.topic = topic or ""
        self._derive_look()

    @property
    def at_work(self) -> bool:
        """Whether the feed works on an order, or has not yet determined the cost of a look."""
        is_judged = self.judged is not None and self.judged.topic == self.topic
        is_known = self.topics_are_read and (is_judged or not self.topic)
        return bool(self.busy) or not (is_known or self.problem)

    # --- actions of the buttons --------------------------------------------------------

    def look(self) -> bool:
        """Ask the feed for a look; return whether that was possible.

        If not, `look_blockers` say why. A look whose cost is not known yet follows as soon as it
        is, if it is harmless; otherwise `look_refusal` asks for another call.
        """
        with self.lock:
            if self.can_look:
                self.look_refusal = ""
                self._give(LookOrder(self.topic), f"Looking at the dead letters of {self.topic} …")
                return True
            if self.takes_look:
                self._early_look = self.topic
                self._derive_look()
        return False

    def choose(self, name: str | None) -> None:
        """Show only the group called *name*; a second call shows all groups again."""
        with self.lock:
            group = Group(self.group_by, name)
            self.group = None if self.group == group else group

    def show_whole(self) -> bool:
        """Ask the feed for the whole current message; return whether that was possible."""
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

    # --- derived traits ---------------------------------------------------------------

    @traitlets.observe("topics", "topic")
    def _list_choices(self, _change: Any) -> None:
        counts = sorted(self.topics, key=lambda count: (-(count.dead or 0), count.topic))
        if not self.topic and counts:
            self.topic = counts[0].topic  # which calls this method again
            return
        if self.topic and self.topic not in {count.topic for count in counts}:
            counts.insert(0, TopicCount(self.topic, None))
        self.choices = tuple((_choice(count), count.topic) for count in counts)

    @traitlets.observe("topic", "judged", "busy")
    def _derive_look(self, _change: Any = None) -> None:
        if self._early_look != self.topic:
            self._early_look = ""
        judged = self.judged if self.judged and self.judged.topic == self.topic else None
        refusal = "" if judged is None else self._refusal(judged)
        self.cost = "" if judged is None or refusal else _cost(judged)
        self.look_blockers = tuple(self._look_blockers(judged, refusal))
        self.can_look = not self.look_blockers
        self.takes_look = self.can_look or self.look_blockers == (_ASKING,)
        self._derive_whole()
        if self._early_look and judged is not None:
            self._early_look = ""
            self._look_late(judged)

    def _look_late(self, judged: TopicVerdict) -> None:
        """Do the look that was ordered before its cost was known, if it is harmless."""
        if judged.verdict is None or not self.can_look:
            return  # the blockers say why
        if judged.verdict.cost is Cost.HARMLESS:
            self.look()
        else:
            self.look_refusal = (
                "Nothing was looked at: what a look costs was not known yet. "
                "Read it above, and press Look again."
            )

    @traitlets.observe("topic")
    def _forget_refusal(self, _change: Any) -> None:
        self.look_refusal = ""

    def _refusal(self, judged: TopicVerdict) -> str:
        if judged.verdict is None:
            return judged.why
        try:
            peek_verdict.check(judged.verdict, read_only=self.read_only, force=False)
        except LookRefused as refusal:
            return str(refusal)
        return ""

    def _look_blockers(self, judged: TopicVerdict | None, refusal: str) -> Iterator[str]:
        if not self.topic:
            yield "Choose a topic."
        elif refusal:
            yield refusal
        elif judged is None:
            yield f"{_ASKING} A harmless look follows." if self._early_look else _ASKING
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

    @traitlets.validate("group_by")
    def _check_group_by(self, proposal: Any) -> str:
        by = str(proposal["value"])
        if by not in GROUP_COLUMNS.values() and not is_path(by, NESTED):
            raise traitlets.TraitError(
                f"Dead letters are grouped by {', '.join(GROUP_COLUMNS.values())}, or by a path as "
                f"kwargs.customer.id or headers.tenant, not by {by!r}."
            )
        return by

    @traitlets.observe("group_by")
    def _group(self, _change: Any = None) -> None:
        if self.looked is None:
            return
        frame = self.looked.frame
        self.group_choices = choices_of(frame)
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
        """Show the details of the current row."""
        key = self.table.current
        row = None if self.looked is None or key is None else self.looked.row(key)
        whole = self.whole if self.whole and self.whole.key == key else None
        self.detail = None if row is None else Detail(row, whole, self.message_refusal)
        self._derive_whole()

    def _derive_whole(self) -> None:
        known = self.detail is not None and self.detail.whole is None
        self.can_show_whole = known and not self.busy


def _cost(judged: TopicVerdict) -> str:
    if judged.verdict is None:
        return ""
    cost = judged.verdict.cost
    does = _COSTS_IN_WORDS.get(cost, f"{cost.value}:")
    return f"A look {does} {judged.verdict.why}."


def _choice(topic_count: TopicCount) -> str:
    count = (
        "? dead"
        if topic_count.dead is None
        else f"{topic_count.dead:,} dead"
        if topic_count.dead
        else "none dead"
    )
    return f"{topic_count.topic}  ·  {count}"


def _shown(looked: LookResult) -> str:
    count = len(looked.frame)
    note = f" {looked.note}" if looked.note else ""
    return (
        f"{counted(count, 'message')} in {looked.queue}.{note}"
        if count
        else f"{looked.queue} is empty.{note}"
    )
