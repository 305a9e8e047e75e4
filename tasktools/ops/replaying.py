"""Dead letters: looking at them, and replaying, discarding and restoring them by plans."""

from __future__ import annotations

import inspect
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pandas as pd
from msgspec.structs import replace

from tasktools.brokers.base import Broker, Look
from tasktools.core import dead_letters, schemas
from tasktools.core.clock import Clock, moment
from tasktools.core.compose import check_topic
from tasktools.core.errors import InvalidPlan
from tasktools.core.models import SeenMessage, Source
from tasktools.core.plans import Plan, Planned
from tasktools.ops import archive, planning, tasks
from tasktools.ops.canary import Canary, Ramp
from tasktools.ops.following import TaskLog
from tasktools.ops.heard import HeardErrors
from tasktools.ops.ledger import Ledger
from tasktools.ops.planning import Edits
from tasktools.ops.progress import Progress, in_background
from tasktools.ops.runs import Run, free_archive

_LOOKED_AT: Final = tuple(c.name for c in schemas.DEAD_LETTERS.columns if "look" in c.source)


class Replaying(ABC):
    """The part of `Cluster` that looks at messages in queues, and moves them by plans."""

    broker: Broker
    _clock: Clock
    _named: set[str]
    _log: TaskLog
    _errors: HeardErrors
    _reveal: bool
    _signature: Callable[[str], inspect.Signature | None]

    @abstractmethod
    def _listen(self) -> None: ...

    @abstractmethod
    def _frame_of(
        self, frame: pd.DataFrame, sources: Source | Iterable[Source]
    ) -> pd.DataFrame: ...

    # --- looking --------------------------------------------------------------------

    def dead_letters(
        self, topic: str, limit: int | None = None, *, force: bool = False
    ) -> pd.DataFrame:
        """Return the dead letters of *topic*, one row a message (schema `DEAD_LETTERS`).

        Nothing is consumed: all messages, or the first *limit*, are taken, shown, and given back.
        What that costs was decided before (`attrs["looks"]`): it marks them redelivered, and
        where it could make RabbitMQ drop one it is refused with `LookRefused`, unless *force*.
        Bodies are not kept. The error is the one that the message carries, else the one that
        a worker's event told of its task since this `Cluster` was first looked at. Raises
        `UnknownTopic`.
        """
        check_topic(topic)
        queue = self.broker.layout.dead_queue(topic)
        if not self.broker.topic_exists(queue):
            tasks.check_known(self.broker, self.broker.cluster_state(), topic)
        self._named.add(topic)
        return self._look(queue, topic, limit, force=force)

    def peek(self, queue: str, limit: int | None = None, *, force: bool = False) -> pd.DataFrame:
        """Return the messages of any *queue* as `dead_letters` does. Raises `QueueNotFound`."""
        return self._look(queue, None, limit, force=force)

    def message(self, queue: str, key: str, *, force: bool = False) -> SeenMessage | None:
        """Return one message with all its properties, by its key; `None` if it is not there.

        Secrets are **not** masked. Takes a look at the messages up to it, like `peek`.
        """
        found: list[SeenMessage] = []

        def receive(message: SeenMessage, _body: bytes) -> bool:
            if message.key == key:
                found.append(message)
            return bool(found)

        self.broker.peek(queue, receive=receive, force=force)
        return found[0] if found else None

    def _look(
        self, queue: str, topic: str | None, limit: int | None, *, force: bool
    ) -> pd.DataFrame:
        rows = dead_letters.DeadLetters(
            queue, topic=topic, heard=self._errors.get, reveal=self._reveal
        )
        self._listen()
        look = self.broker.peek(queue, limit, receive=rows.add, force=force)
        frame = rows.frame()
        report = _report(look, len(frame))
        source = replace(tasks.look_source([report]), columns=_LOOKED_AT)
        frame = self._frame_of(frame, source)
        frame.attrs["looks"] = [report.as_dict()]
        return frame

    # --- planning -------------------------------------------------------------------

    def plan_replay(
        self,
        frame: pd.DataFrame,
        to: str | None = None,
        *,
        edits: Edits | None = None,
        rate: float | None = None,
        undecodable: bool = False,
    ) -> Plan:
        """Plan to send the messages that the rows of *frame* stand for; nothing happens yet.

        They go to the queue *to*, by default that of the topic whose dead letters they are. *rate*
        limits them to so many a second. *edits* are new values by path, as ``{"kwargs.to": "a@b"}``
        (`tasktools.REMOVE` takes one out); or those by the key of a row; or a function that gets
        each row as a named tuple and returns them. They are applied to what is read from the
        queue when the plan is run, so a plan holds no body, and a masked value cannot be written.
        A message that is no task is skipped, unless *undecodable*: the peers' workers would take
        it again and again.

        Rows of `failures` are sent as they were recorded, each to the queue of its topic; nothing
        is taken from anywhere, so a second plan of them sends them a second time.

        Raises `InvalidPlan`, and `UnknownTopic` when there is no queue *to*.
        """
        rate = planning.checked_rate(rate)
        options: dict[str, Any] = {
            "edits": edits,
            "undecodable": undecodable,
            "signature": self._signature,
        }
        if planning.is_recorded(frame):
            recorded = list(planning.recorded(frame, to, **options))
            for target in sorted({row.to for row in recorded if row.to is not None}):
                if not self.broker.topic_exists(target):
                    raise tasks.unknown_topic(self.broker, target)
            return self._plan("replay", frame["queue"].iloc[0], recorded, rate=rate)
        source = planning.source_of(frame)
        target = to or self._home_of(source)
        if target == source:
            raise InvalidPlan(f"The messages lie in {source!r} already; nothing was done.")
        if not self.broker.topic_exists(target):
            raise tasks.unknown_topic(self.broker, target)
        rows = planning.chosen(frame, to=target, **options)
        return self._plan("replay", source, rows, rate=rate)

    def plan_discard(self, frame: pd.DataFrame, *, archive: str | os.PathLike[str] | None) -> Plan:
        """Plan to take the messages that the rows of *frame* stand for out of their queue.

        They are kept, byte for byte, in the file *archive*, from which `plan_restore` brings them
        back; with ``archive=None`` they are gone for good. Raises `InvalidPlan`.
        """
        source = planning.source_of(frame)
        kept = None if archive is None else free_archive(archive)
        rows = planning.chosen(
            frame, to=None, edits=None, undecodable=True, signature=self._signature
        )
        return self._plan("discard", source, rows, archive=kept)

    def plan_restore(self, path: str | os.PathLike[str]) -> Plan:
        """Plan to put the messages of an archive back into the queue they were discarded from.

        The same archive gives the same plan: an interrupted run goes on, and one that has ended is
        not done again. Raises `InvalidPlan` for another file, and `UnknownTopic` when that queue
        is gone.
        """
        source = str(Path(path).absolute())
        queue = archive.read_head(source).queue
        if not self.broker.topic_exists(queue):
            raise tasks.unknown_topic(self.broker, queue)
        rows = (
            Planned(
                key=message.key,
                task_id=message.task_id,
                task_name=message.task_name,
                to=queue,
                size=len(message.body),
            )
            for message in archive.read(source)
        )
        written = moment(Path(source).stat().st_mtime)
        return self._plan("restore", source, rows, made_at=written)

    def _plan(self, verb: str, source: str, rows: Iterable[Planned], **told: Any) -> Plan:
        return Plan.make(
            verb=verb,
            cluster=self.broker.address,
            source=source,
            messages=tuple(rows),
            **{"made_at": moment(self._clock.time()), **told},
        )

    def _home_of(self, queue: str) -> str:
        topic = queue.removesuffix(".dead")
        if self.broker.layout.dead_queue(topic) == queue:
            return topic
        raise InvalidPlan(
            f"{queue!r} is no dead-letter queue, so where its messages belong is not known; "
            "nothing was done. Say where they go: to=…"
        )

    # --- running --------------------------------------------------------------------

    def run(
        self,
        plan: Plan,
        *,
        reason: str,
        ramp: Ramp | None = None,
        progress: bool | Callable[[int], object] = True,
        cancelled: threading.Event | None = None,
        force: bool = False,
    ) -> pd.DataFrame:
        """Do what *plan* says, and return what became of each message (schema `OUTCOME`).

        Exactly the planned messages are taken; the others stay, in their order. Each is written
        to the ledger (`tasktools.ledger`), published, confirmed, and only then acknowledged: a
        ``kill -9`` at any point loses nothing. Running the same plan again goes on with it, and
        every message that may have arrived twice is marked `possible_duplicate`.

        *reason* is asked for by the ledger: an incident's number, or a sentence. With a *ramp*
        few are sent at first, and more only if those do well. *progress* shows a bar, or is a
        function that is called with how many have ended since. The run ends early when
        *cancelled* is set, or on Ctrl-C; what was sent by then is accounted for.

        Raises `InvalidPlan` (also for a plan that was changed, and an archive that was restored
        already), `ReadOnly`, `QueueNotFound`, `QueueInUse` (another run works on the queue),
        `LookRefused` (what is not planned could be dropped by holding it), `LedgerError`, and
        `ConnectionLost` when the broker did not come back for two minutes. With *force* a plan is
        run although holding could drop a message, and an archive is restored once more.
        """
        if plan.cluster != self.broker.address:
            raise InvalidPlan(
                f"The plan was made on {plan.cluster}, and this is {self.broker.address}; nothing "
                "was done."
            )
        ledger = Ledger()
        with Progress(plan, show=progress) as bar:
            run = Run(
                broker=self.broker,
                ledger=ledger,
                plan=plan,
                reason=reason,
                clock=self._clock,
                ramp=ramp,
                watch=lambda: Canary(self.broker, self._log, plan),
                done=bar.update,
                force=force,
                cancelled=cancelled or threading.Event(),
            )
            number = in_background(run.execute, run.cancelled)
        return self._frame_of(ledger.messages(number, plan), ())


def _report(look: Look, shown: int) -> tasks.LookReport:
    return tasks.LookReport(
        queue=look.queue,
        cost=look.verdict.cost.value,
        why=look.verdict.why,
        shown=shown,
        ready=look.ready_before,
        note=look.note,
    )


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Return the plan that `Plan.save` wrote to *path*.

    Raises `InvalidPlan` for another file and for a plan that was changed, and `OSError`.
    """
    return Plan.from_json(Path(path).read_bytes())
