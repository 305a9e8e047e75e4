"""State of the publish widget: its form, the feed's news, and every rule. No widgets here."""

from __future__ import annotations

import inspect
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
import traitlets

from tasktools.core import plurals
from tasktools.core.dialects.dialect import Dialect, unknown_tasks
from tasktools.core.errors import UnknownTask
from tasktools.core.frames import schemas
from tasktools.core.frames.build import frame_from
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.redaction import DEFAULT, Redaction
from tasktools.widgets.publish import forms, secret_removal, validation
from tasktools.widgets.publish.batch import Batch
from tasktools.widgets.publish.forms import Arguments
from tasktools.widgets.publish.statuses import counted, fates, in_words, tasks_to_follow
from tasktools.widgets.state import SharedState

Signatures = Callable[[str], inspect.Signature | None]
"""Returns the signature of a task's function by its name, ``module:function`` if known."""

_ENTERED: Final = (
    *("topic", "create", "task", "as_json", "args", "kwargs", "entered"),
    *("priority", "ttl", "delay", "mode", "batch"),
)
_FOUND: Final = ("topics", "missing", "unconsumed", "tasks", "dialects")
_HINT: Final = (
    "CSV or a JSON object a line: topic, task_name (where missing, those above), args, kwargs, "
    "headers (JSON), priority, ttl, delay"
)


@dataclass(frozen=True, eq=False, repr=False)
class Order(MaskedRepr):
    """Tasks to publish now, one per row of *frame*."""

    frame: pd.DataFrame
    create: bool


class PublishState(SharedState):
    """The state of the publish widget. Set the fields, call the methods of the buttons, and read
    the rest.

    *resolve* returns ``module:function`` for a task's name or raises `UnknownTask`.
    """

    # set by the user
    topic = traitlets.Unicode()
    create = traitlets.Bool(default_value=False)
    task = traitlets.Unicode()
    as_json = traitlets.Bool(default_value=False)
    args = traitlets.Unicode("[]")
    kwargs = traitlets.Unicode("{}")
    entered = traitlets.Dict()  # values of the form by the names of its fields
    priority = traitlets.Unicode()
    ttl = traitlets.Unicode()
    delay = traitlets.Unicode()
    mode = traitlets.Enum(("one", "batch"), default_value="one")
    batch = traitlets.Instance(Batch, allow_none=True)

    # set by the feed
    topics = traitlets.Tuple()  # topics that exist
    missing = traitlets.Tuple()  # wanted topics that do not exist
    unconsumed = traitlets.Dict()  # topics that nobody consumes, each with a sentence
    tasks = traitlets.Tuple()  # names that were seen or registered
    dialects = traitlets.Dict()  # those of wanted topics
    busy = traitlets.Bool(default_value=False)
    settled = traitlets.Int()
    outcome = traitlets.Instance(pd.DataFrame)
    followed = traitlets.Instance(pd.DataFrame)
    refusal = traitlets.Unicode()  # why the last order was not published, in words

    # derived
    fields = traitlets.Tuple()
    has_form = traitlets.Bool(default_value=False)
    shows_form = traitlets.Bool(default_value=False)
    is_batch = traitlets.Bool(default_value=False)
    about_batch = traitlets.Unicode()
    blockers = traitlets.Tuple()
    warnings = traitlets.Tuple()  # notes to read before publishing
    wanted_topics = traitlets.Tuple()
    can_publish = traitlets.Bool(default_value=False)
    armed = traitlets.Bool(default_value=False)
    count = traitlets.Int(1)
    total = traitlets.Int()  # tasks of the last order
    progress = traitlets.Unicode()
    label = traitlets.Unicode("Publish")
    question = traitlets.Unicode()
    order = traitlets.Instance(Order, allow_none=True)
    shown = traitlets.Instance(pd.DataFrame)  # the tasks with their statuses (`fates`)
    counts = traitlets.Dict()  # number of tasks by `fate`
    summary = traitlets.Unicode()

    def __init__(
        self,
        *,
        resolve: Callable[[str], str] = str,
        signatures: Signatures | None = None,
        read_only: bool = False,
        redaction: Redaction = DEFAULT,
    ) -> None:
        super().__init__()
        self.signature: inspect.Signature | None = None
        self.redaction = redaction
        self.read_only = read_only
        self._resolve = resolve
        self._signatures = signatures
        self._options: dict[str, Any] = {}
        self._arguments = Arguments()
        self._derive()
        self._account()

    @traitlets.default("outcome")
    def _no_outcome(self) -> pd.DataFrame:
        return frame_from(schemas.PUBLISHED, [])

    @traitlets.default("followed")
    def _nothing_followed(self) -> pd.DataFrame:
        return frame_from(schemas.FOLLOWED, [])

    @property
    def at_work(self) -> bool:
        """Whether an order is being published, or the feed does not know yet whether the topics
        exist or in which state the published tasks are."""
        arrived = tasks_to_follow(self.outcome)
        is_known = arrived.isin(self.followed["task_id"]).all() and (
            {*self.topics, *self.missing} >= set(self.wanted_topics)
        )
        return self.busy or not (is_known or self.problem)

    # --- actions of the buttons --------------------------------------------------------

    def publish(self) -> bool:
        """Publish the task, or for a batch ask first (`armed`); return whether it was possible.

        If not, `busy` or `blockers` say why.
        """
        with self.lock:
            allowed = self.can_publish
            if allowed and self.mode == "batch":
                self.armed = True
            elif allowed:
                self._send()
        return allowed

    def confirm(self) -> bool:
        """Publish the batch after `publish()`; return whether that was possible."""
        with self.lock:
            allowed = self.armed and self.can_publish
            if allowed:
                self._send()
        return allowed

    def cancel(self) -> None:
        """Cancel the question about the batch."""
        self.armed = False

    def _send(self) -> None:
        order = Order(self._requested(), self.create)
        self.armed, self.busy, self.refusal = False, True, ""
        self.total, self.settled = len(order.frame), 0
        self.order = order
        self._forget_secrets(order)

    def _forget_secrets(self, order: Order) -> None:
        """Remove the entered secrets from the state: the feed has them in *order*."""
        if secret_removal.has_secrets(order.frame, self.redaction):
            self.order = None
            if self.mode == "batch" and self.batch is not None:
                self.batch = self.batch.forgotten()
        self.args, self.kwargs = map(self.redaction.text, (self.args, self.kwargs))
        self.entered = secret_removal.without_secrets(self.entered, self.fields, self.redaction)

    # --- derived traits ---------------------------------------------------------------

    @traitlets.observe(*_ENTERED)
    def _entered(self, change: Any) -> None:
        self.armed = False
        if change["name"] == "as_json" and change["new"]:
            self._write_json()
        self._derive()

    @traitlets.observe(*_FOUND)
    def _found(self, _change: Any) -> None:
        self._derive()

    @traitlets.observe("busy", "blockers")
    def _allow(self, _change: Any) -> None:
        self.can_publish = not self.busy and not self.blockers

    @traitlets.observe("settled", "total")
    def _count(self, _change: Any) -> None:
        self.progress = f"{self.settled:,} of {self.total:,}" if self.total > 1 else ""

    @traitlets.observe("outcome", "followed")
    def _account(self, _change: Any = None) -> None:
        shown = fates(self.outcome, self.followed)
        self.counts = counted(shown)
        self.summary = in_words(self.outcome, self.counts)
        self.shown = shown  # last: observers of it find the other traits up to date

    def _derive(self) -> None:
        self._find_signature()
        self.is_batch = self.mode == "batch"
        self.has_form = self.signature is not None
        self.shows_form = self.has_form and not self.as_json
        self._options, problems = self._read_options()
        self._arguments = self._read_arguments()
        if self.mode == "one":
            problems += self._arguments.problems
        self.wanted_topics = self._wanted_topics()
        self.count = 1 if self.mode == "one" else len(self.batch or ())
        self.about_batch = (
            _HINT if self.batch is None else f"{self._tasks()} in {self.batch.source}"
        )
        self.label = f"Publish {self._tasks()} …" if self.is_batch and self.count else "Publish"
        self.question = f"Publish {self._tasks()} to {self._targets()}?"
        self.blockers = tuple(dict.fromkeys([*self._blockers(), *problems]))
        self.warnings = tuple(self._warnings())

    def _find_signature(self) -> None:
        signature = None
        if self._signatures is not None and self.task:
            try:
                signature = self._signatures(self._resolve(self.task))
            except UnknownTask:
                signature = self._signatures(self.task)
        if signature != self.signature:
            self.signature = signature
            self.fields = () if signature is None else forms.fields_of(signature, self.redaction)
            self.entered = {field.name: field.default for field in self.fields}

    def _write_json(self) -> None:
        """Copy the values of the form into the JSON fields."""
        if self.signature is None or self._arguments.problems:
            return
        self.args = json.dumps(self._arguments.args, ensure_ascii=False)
        self.kwargs = json.dumps(self._arguments.kwargs, ensure_ascii=False, indent=2)

    def _read_arguments(self) -> Arguments:
        shows_form = self.shows_form and self.signature is not None
        typed = self.entered if shows_form else {"args": self.args, "kwargs": self.kwargs}
        forgotten = secret_removal.forgotten(typed)
        if forgotten:
            return Arguments(problems=forgotten)
        if self.shows_form and self.signature is not None:
            return forms.from_form(self.signature, self.entered, self.redaction)
        return forms.from_json(self.args, self.kwargs, self.signature)

    def _read_options(self) -> tuple[dict[str, Any], list[str]]:
        """Return priority, TTL and delay, and the problems with them."""
        options: dict[str, Any] = {}
        problems = []
        for name, read in (
            ("priority", lambda: validation.priority(self.priority)),
            ("ttl", lambda: validation.seconds(self.ttl, "TTL", may_be_zero=False)),
            ("delay", lambda: validation.seconds(self.delay, "delay", may_be_zero=True)),
        ):
            try:
                options[name] = read()
            except ValueError as error:
                problems.append(str(error))
        is_parked = any(map(self._is_parked, self._targeted()))
        if options.get("ttl") and options.get("delay") and is_parked:
            problems.append(validation.NOT_BOTH)
        return options, problems

    def _requested(self) -> pd.DataFrame:
        """Return the tasks in the frame that `Cluster.publish_many` takes."""
        named = {"topic": self.topic or None, "task_name": self.task or None, **self._options}
        if self.mode == "batch" and self.batch is not None:
            frame = self.batch.completed(named)
        else:
            arguments = {"args": list(self._arguments.args), "kwargs": self._arguments.kwargs}
            frame = pd.DataFrame([{**named, **arguments}], dtype=object)
        resolved = {pair: self._resolved(*pair) for pair in self._pairs()}
        pairs = zip(frame["topic"], frame["task_name"], strict=True)
        names = [resolved[topic, task or ""] for topic, task in pairs]
        return frame.assign(task_name=pd.Series(names, frame.index, dtype=object))

    def _resolved(self, topic: str, task: str) -> str | None:
        return self._resolve(task) if self._names_functions(topic) else task or None

    def _names_functions(self, topic: str) -> bool:
        dialect = self.dialects.get(topic)
        return dialect is None or dialect.names_functions

    def _is_parked(self, topic: str) -> bool:
        """Whether a message with a delay is parked in a queue that forgets its TTL."""
        dialect = self.dialects.get(topic)
        return dialect is None or dialect.creates_topics

    def _warnings(self) -> Iterator[str]:
        for topic in self._targeted():
            if topic in self.unconsumed:
                yield self.unconsumed[topic]
        named: defaultdict[Dialect, dict[str, None]] = defaultdict(dict)
        for topic, task in self._pairs():
            if topic in self.dialects and task:
                named[self.dialects[topic]][task] = None
        for dialect, names in named.items():
            warning = unknown_tasks(dialect, names, self.tasks)
            if warning is not None:
                yield warning

    def _blockers(self) -> Iterator[str]:
        if self.read_only:
            yield validation.READ_ONLY
        if self.mode == "batch" and self.batch is None:
            yield "Choose a file with tasks."
            return
        if self.mode == "batch" and self.batch is not None and self.batch.problem:
            yield self.batch.problem
            return
        yield from validation.first_problem(
            validation.topic_problem(
                topic,
                known=self.topics,
                missing=self.missing,
                create=self.create,
                dialect=self.dialects.get(topic),
            )
            for topic in self._targeted()
        )
        yield from validation.first_problem(
            validation.task_problem(task, self._resolve, self.tasks, self.dialects.get(topic))
            for topic, task in self._pairs()
        )

    def _targeted(self) -> tuple[str, ...]:
        """Return the topics that would be published to."""
        if self.mode == "one" or self.batch is None:
            return (self.topic,)
        own = (self.topic,) if "topic" in self.batch.lacks else ()
        return tuple(dict.fromkeys((*own, *self.batch.topics)))

    def _pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the topics with the names of the tasks that would be published to them."""
        if self.mode == "one" or self.batch is None:
            return ((self.topic, self.task),)
        return tuple(
            dict.fromkeys(
                (topic or self.topic, task or self.task) for topic, task in self.batch.pairs
            )
        )

    def _wanted_topics(self) -> tuple[str, ...]:
        """Return the topics that the feed is to find out about."""
        return tuple(filter(validation.can_be_topic, self._targeted()))

    def _tasks(self) -> str:
        return plurals.counted(self.count, "task")

    def _targets(self) -> str:
        targets = self._targeted()
        return targets[0] if len(targets) == 1 else f"{len(targets):,} topics"
