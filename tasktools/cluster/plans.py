"""Plans that replay, discard or restore messages, and their runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET
from msgspec.structs import replace

from tasktools.cluster.base import ClusterBase
from tasktools.cluster.publish import Publishing
from tasktools.core import files
from tasktools.core.clock import moment
from tasktools.core.dialects import registry
from tasktools.core.errors import InvalidPlan
from tasktools.core.lazy_imports import pd
from tasktools.core.plans import Plan, Planned, Verb
from tasktools.core.timespans import Span
from tasktools.monitor import active_tasks, consumption
from tasktools.replay import planner, rates, target_checks
from tasktools.replay.planner import Edits
from tasktools.replay.progress import Progress, in_background
from tasktools.replay.ramp import Ramp, RampGuard
from tasktools.replay.rates import ChosenRate, Rate
from tasktools.replay.replayed_tasks import MAX_FOLLOWED, Aftermath
from tasktools.replay.target_readers import Readers

if TYPE_CHECKING:  # imported at the end of a run: it is a frame
    from tasktools.replay.outcome import Outcome


class Plans(Publishing):
    """The part of `Cluster` that plans replays, discards and restorations, and runs the plans."""

    # --- planning -------------------------------------------------------------------

    def plan_replay(
        self,
        frame: pd.DataFrame,
        to: str | None = None,
        *,
        edits: Edits | None = None,
        rate: Rate | None = None,
        keep_wait_below: Span | None = None,
        history: ClusterBase | None = None,
        undecodable: bool = False,
    ) -> Plan:
        """Plan to send the messages of *frame*'s rows to a queue. Nothing happens before `run`.

        Edits are applied to what is read from the queue when the plan is run, so a plan holds no
        body, and a masked value cannot be written. Messages that the target would drop, refuse or
        let expire are in the plan's warnings.

        A message that is no task, or that a worker of fastpluggy cannot read (the column
        ``unreadable``), is skipped, since such a worker would take it again and again. The latter
        are sent to topics that are known to be consumed by workers of tasktools alone; messages of
        Celery to where only consumers without heartbeats are, or back into the queue they died in.

        Fields that would keep a message from running as a new one are reset, and the plan lists
        them: for Dramatiq the retries, with the traceback and times of the last one. A message of
        Celery keeps its ``retries``, unless ``attempts`` is edited; one whose ``expires`` is past
        is skipped, unless ``expires_at`` is edited or *undecodable* is set.

        Rows of `failures` and `published` are sent as they were recorded, each to the queue of its
        topic. Nothing is taken from anywhere, so a second plan of them sends them a second time.
        From a tap they go without headers that were tables or lists, which a stream does not keep.

        Parameters
        ----------
        frame
            Rows of `dead_letters`, `peek`, `failures` or `published`.
        to
            The queue to send to; by default each message goes to the topic in which it died.
        edits
            New values by path, as ``{"kwargs.to": "a@b"}`` (`tasktools.REMOVE` removes a value): of
            ``args``, ``kwargs``, ``headers``, ``task_name``, ``attempts``, ``expires_at`` …; or
            such dicts by the key of a row; or a function that gets each row as a named tuple and
            returns them.
        rate
            Messages a second, at most; ``"auto"``: as many as live tasks allow at this hour, by the
            recorded hours like it. The plan says why. Time lost in an alarm or a restart of the
            broker is not made up for afterwards.
        keep_wait_below
            With ``"auto"``: the limit for the p95 wait of live tasks, as ``"30s"``.
        history
            With ``"auto"``: a recording of this cluster of 5 days or more, as
            ``tt.connect("sqlite:///ops.db")``; by default the events that this process received.
        undecodable
            Send also messages that the consumers may not be able to read, or that have expired.

        Returns
        -------
        Plan
            The plan; `run` carries it out.

        Raises
        ------
        InvalidPlan
            *frame* or *edits* cannot be planned, or no rate can be chosen.
        UnknownTopic
            There is no queue *to*.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     delivery = cluster.broker.claim("emails", "worker-1")
        ...     delayed = cluster.broker.nack(delivery.id, requeue=False)
        ...     dead = cluster.dead_letters("emails")
        ...     cluster.plan_replay(dead, edits={"kwargs.to": "a@b"}).title
        'replay 1 message of emails.dead to emails'

        """
        fixed_rate = rates.checked_rate(rate)
        wait_below = rates.checked_wait(rate, keep_wait_below)
        readers = Readers(self.broker)
        rules = self._rules(readers, edits, undecodable=undecodable)
        if planner.is_stored(frame):
            copies = list(planner.copies(frame, to, rules))
            for target in sorted({row.to for row in copies if row.to is not None}):
                if not self.broker.queue_exists(target):
                    raise active_tasks.unknown_topic(self.broker, target)
            chosen = self._chosen_rate(copies, fixed_rate, wait_below, history)
            return self._plan_sending(frame, frame["queue"].iloc[0], copies, chosen, readers)
        source = planner.source_of(frame)
        homes = [to] if to else self._homes_of(source)
        if source in homes:
            raise InvalidPlan(f"The messages lie in {source!r} already; nothing was done.")
        rows = list(planner.homeward(frame, homes, rules))
        for target in sorted({row.to for row in rows if row.to is not None}):
            if not self.broker.queue_exists(target):
                raise active_tasks.unknown_topic(self.broker, target)
        chosen = self._chosen_rate(rows, fixed_rate, wait_below, history)
        return self._plan_sending(frame, source, rows, chosen, readers)

    def _chosen_rate(
        self,
        rows: Iterable[Planned],
        rate: float | None,
        wait_below: float | None,
        history: ClusterBase | None,
    ) -> ChosenRate | None:
        """Return the rate of a replay, chosen if live tasks have a wait to keep below."""
        if wait_below is None:
            return None if rate is None else ChosenRate(rate)
        question = rates.question_of(rows, wait_below, self._clock.time())
        stats = self.broker.topic_report([question.topic]).topics
        waiting = sum(each.queued or 0 for each in stats if each.topic == question.topic)
        if self._choose_rate is None:
            raise InvalidPlan(
                "No rate can be chosen by this cluster, which tasktools.connect() has not made; "
                "nothing was done. Give a rate, as rate=0.5."
            )
        return self._choose_rate(replace(question, backlog=waiting), history or self)

    def _rules(
        self, readers: Readers, edits: Edits | None = None, *, undecodable: bool
    ) -> planner.RowRules:
        return planner.RowRules(
            edits=edits,
            undecodable=undecodable,
            signature=self._signature,
            readers=readers,
            redaction=self._redaction,
            now=moment(self._clock.time()),
        )

    def _plan_sending(
        self,
        frame: pd.DataFrame,
        source: str,
        rows: Iterable[Planned],
        rate: ChosenRate | None,
        readers: Readers,
    ) -> Plan:
        """Return the plan of a replay, with its warnings."""
        messages = tuple(rows)
        targets = dict.fromkeys(row.to for row in messages if row.to and row.skipped is None)
        note = self.broker.note  # an alarm: no message would be taken now
        warnings = [
            *([] if note is None else [note]),
            *consumption.unconsumed(self.broker, targets).values(),
            *planner.warnings(frame, messages, moment(self._clock.time())),
            *readers.notes(),
            *readers.notes_of_skipped(messages),
        ]
        return self._plan("replay", source, messages, rate=rate, warnings=warnings)

    def plan_discard(self, frame: pd.DataFrame, *, archive: str | os.PathLike[str] | None) -> Plan:
        """Plan to take the messages of *frame*'s rows out of their queue. Nothing happens before
        `run`.

        Parameters
        ----------
        frame
            Rows of `dead_letters` or `peek`.
        archive
            A new file for the messages, byte for byte, from which `plan_restore` puts them back.
            With `None` they are deleted for good.

        Returns
        -------
        Plan
            The plan; `run` carries it out.

        Raises
        ------
        InvalidPlan
            *frame* cannot be planned, or *archive* cannot be written.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     delivery = cluster.broker.claim("emails", "worker-1")
        ...     delayed = cluster.broker.nack(delivery.id, requeue=False)
        ...     cluster.plan_discard(cluster.dead_letters("emails"), archive=None).title
        'discard 1 message of emails.dead'

        """
        if planner.is_stored(frame):
            raise InvalidPlan(
                "The rows are of a recording or a tap, so they lie in no queue from which they "
                "could be discarded; nothing was done. Make the plan of cluster.dead_letters()."
            )
        from tasktools.replay.archive import free_archive

        source = planner.source_of(frame)
        archive_path = None if archive is None else free_archive(archive)
        rules = self._rules(Readers(self.broker), undecodable=True)
        rows = planner.chosen(frame, None, rules)
        return self._plan("discard", source, rows, archive=archive_path)

    def plan_restore(self, path: str | os.PathLike[str], *, undecodable: bool = False) -> Plan:
        """Plan to put the messages of an archive back into the queue they were discarded from.

        The same archive gives the same plan: an interrupted run is continued, and a finished one is
        not repeated. Messages that the workers of a queue cannot read are not put into it.

        Parameters
        ----------
        path
            The archive, which a plan of `plan_discard` has written.
        undecodable
            Put back also messages that the consumers may not be able to read.

        Returns
        -------
        Plan
            The plan; `run` carries it out.

        Raises
        ------
        InvalidPlan
            *path* is no archive, or was changed.
        UnknownTopic
            The queue that the messages came from does not exist.

        Examples
        --------
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "emails.archive")
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     delivery = cluster.broker.claim("emails", "worker-1")
        ...     delayed = cluster.broker.nack(delivery.id, requeue=False)
        ...     plan = cluster.plan_discard(cluster.dead_letters("emails"), archive=path)
        ...     outcome = cluster.run(plan, reason="INC-42", progress=False)
        ...     len(cluster.plan_restore(path))
        1

        """
        from tasktools.replay import archive

        with files.errors_of(path, "cannot be read", "nothing was done."):
            source = str(Path(path).absolute())
        checked = archive.check(source)
        queue = archive.read_head(source).queue
        if not self.broker.queue_exists(queue):
            raise active_tasks.unknown_topic(self.broker, queue)
        readers = Readers(self.broker)
        rows = tuple(
            Planned(
                key=message.key,
                task_id=message.task_id,
                task_name=message.task_name,
                to=queue,
                size=len(message.body),
                skipped=(
                    None
                    if undecodable
                    else readers.problem(queue, message.body, message.properties)
                ),
                unchecked=undecodable,
            )
            for message in archive.read(source)
        )
        written = moment(Path(source).stat().st_mtime)
        origin = self.ledger_file.source_of(archive.read_head(source).plan)
        warnings = [
            *checked.warnings(origin),
            *readers.notes(),
            *readers.notes_of_skipped(rows),
        ]
        return self._plan("restore", source, rows, made_at=written, warnings=warnings)

    def _plan(
        self,
        verb: Verb,
        source: str,
        rows: Iterable[Planned],
        *,
        warnings: Iterable[str] = (),
        rate: ChosenRate | None = None,
        archive: str | None = None,
        made_at: datetime | None = None,
    ) -> Plan:
        messages = tuple(rows)
        sent = target_checks.of_plan((m for m in messages if m.skipped is None), source)
        hazards = [hazard.text for hazard in target_checks.hazards(self.broker, sent)]
        return Plan.make(
            verb=verb,
            cluster=self.broker.address,
            source=source,
            messages=messages,
            broker=self.broker.identity or UNSET,
            warnings=(*warnings, *hazards) or UNSET,
            rate=rate.rate if rate else None,
            rate_why=(rate and rate.why) or UNSET,
            archive=archive,
            made_at=made_at or moment(self._clock.time()),
        )

    def _homes_of(self, queue: str) -> Sequence[str]:
        homes = self.broker.homes_of(queue)
        if homes:
            return homes
        raise InvalidPlan(
            f"{queue!r} is no dead-letter queue, so where its messages belong is not known; "
            "nothing was done. Say where they go: to=…"
        )

    def _check_made_here(self, plan: Plan) -> None:
        """Raise `InvalidPlan` for a plan of another broker."""
        broker = self.broker
        if plan.is_for(broker.address, broker.identity):
            return
        why = "that version of tasktools knew brokers by address only"
        if plan.broker:
            identity = broker.identity
            is_namesake = identity is not None and str(plan.broker) == str(identity)
            why = "another of the same name" if is_namesake else f"{identity}, not {plan.broker}"
        raise InvalidPlan(
            f"The plan was made on {plan.cluster}, and this is {broker.address} ({why}); nothing "
            "was done. Make a new plan here: what an earlier run has begun is settled first."
        )

    def _check_ends_are_reported(self, plan: Plan) -> None:
        """Raise `InvalidPlan` where no worker reports the ends of tasks, which a ramp waits for."""
        mute = consumption.topics_without_events(self.broker, plan.targets)
        if mute:
            raise InvalidPlan(
                f"A replay to {', '.join(sorted(mute))} cannot be ramped: "
                f"{registry.workers_of(set(mute.values()))} send no events, so that no end of a "
                "task would be known; nothing was sent. Run it without a ramp, with a rate limit: "
                "plan_replay(…, rate=5) or --rate 5."
            )

    # --- running --------------------------------------------------------------------

    def run(
        self,
        plan: Plan,
        *,
        reason: str,
        ramp: Ramp | None = None,
        progress: bool | Callable[[int], object] = True,
        notice: Callable[[str], object] | None = None,
        cancelled: threading.Event | None = None,
        force: bool = False,
    ) -> Outcome:
        """Run a plan. Exactly its messages are taken; the others stay, in their order.

        Each message is written to the ledger (`ledger`), published, confirmed, and only then
        acknowledged: a ``kill -9`` at any point loses nothing. Running the same plan again
        continues it, and every message that may have arrived twice is marked
        ``possible_duplicate``. The results of replayed tasks come from their workers:
        `Outcome.follow` waits for them.

        Parameters
        ----------
        plan
            From `plan_replay`, `plan_discard`, `plan_restore`, or `tasktools.load_plan`.
        reason
            For the ledger: an incident's number, or a sentence.
        ramp
            Send few messages at first, and more only if their tasks succeed.
        progress
            Show a bar; or a function that is called with the number of messages that have ended
            since its last call.
        notice
            Called with the reason while the run is held up (an alarm of the broker blocks
            publishers), and with an empty text when it continues.
        cancelled
            Set this event to end the run early, as Ctrl-C does; messages sent by then are accounted
            for.
        force
            Run the plan even if messages could be dropped, or its archive was restored already.

        Returns
        -------
        Outcome
            The outcome of each message (schema `OUTCOME`).

        Raises
        ------
        InvalidPlan
            The plan was changed, is of another broker, or its archive was restored already; or a
            *ramp* was given, and workers of a target send no events.
        ReadOnly, QueueNotFound
            Nothing was done.
        QueueInUse
            Another run works on the queue.
        LookRefused
            Messages that are not planned could be dropped by holding them.
        WouldBeLost
            A target would drop messages: it is full and drops its oldest, expires them at once, or
            is about to be deleted.
        LedgerError, ConnectionLost
            The ledger, or the broker for two minutes, was unavailable; running the plan again
            finishes it.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     delivery = cluster.broker.claim("emails", "worker-1")
        ...     delayed = cluster.broker.nack(delivery.id, requeue=False)
        ...     plan = cluster.plan_replay(cluster.dead_letters("emails"))
        ...     cluster.run(plan, reason="INC-42", progress=False)[["task_name", "outcome"]]
        outcome: 1 row; run ..., finished: 1 replayed; memory://, layout taskworker
           task_name  outcome
        0  send       replayed

        """
        from tasktools.replay.run import Run

        self._check_made_here(plan)
        if ramp is not None:
            self._check_ends_are_reported(plan)
        ledger = self.ledger_file
        aftermath = self._aftermath_of(plan)
        with Progress(plan, show=progress, notice=notice) as bar:
            run = Run(
                broker=self.broker,
                ledger=ledger,
                plan=plan,
                reason=reason,
                clock=self._clock,
                ramp=ramp,
                watch=lambda: RampGuard(self.broker, self._log, plan, self.timing),
                done=bar.update,
                force=force,
                timing=self.timing,
                cancelled=cancelled or threading.Event(),
            )
            number = in_background(
                run.execute, run.cancelled, lambda: bar.stand_still(run.obstacle)
            )
        from tasktools.replay.outcome import Outcome

        return Outcome.of(self._sourced(ledger.messages(number, plan), ()), aftermath)

    def ledger(self, run: int | None = None, *, last: int = 100) -> pd.DataFrame:
        """Return the latest runs of plans on this cluster: who did what, when, why, how it ended.

        Parameters
        ----------
        run
            The number of a run, to get each of its messages instead.
        last
            Number of runs.

        Returns
        -------
        pandas.DataFrame
            Schema `RUNS`, the latest run first; with *run*, schema `OUTCOME`. `tasktools.ledger`
            has the runs of this user on all clusters; runs on a demo are only in this one, and are
            deleted with the demo.

        Raises
        ------
        LedgerError
            The file cannot be read, or there is no such run.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:
        ...     dead = cluster.dead_letters("orders", limit=2)
        ...     outcome = cluster.run(cluster.plan_discard(dead, archive=None), reason="INC-42")
        ...     cluster.ledger()["reason"].tolist()
        ['INC-42']

        """
        ledger = self.ledger_file
        if run is None:
            return self.labelled(ledger.runs(last, address=self._history.address))
        return self.labelled(ledger.messages(run))

    def _aftermath_of(self, plan: Plan) -> Aftermath | None:
        """Follow the tasks of *plan* from now on, since a worker may end one before the run
        ends."""
        if plan.verb != "replay" or self.broker.read_only:
            return None
        task_ids = [message.task_id for message in plan.chosen if message.task_id is not None]
        self._log.listen_to(self.broker)
        self._log.begin_again(task_ids[:MAX_FOLLOWED])
        return Aftermath(self.broker, self.follow(task_ids[:MAX_FOLLOWED]), plan, self.timing)


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Return the plan that `Plan.save` wrote to *path*.

    Raises `InvalidPlan` for another file and for a plan that was changed, and `FileError`.
    """
    return Plan.load(path)
