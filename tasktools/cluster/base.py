"""The common base of all parts of `Cluster`: broker, caches, and the making of frames."""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tasktools.brokers.base import Broker
from tasktools.cluster.history_source import history_source_of
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.dialects import registry
from tasktools.core.errors import BrokerError
from tasktools.core.escaping import UNTYPESET
from tasktools.core.frames.schema import Schema
from tasktools.core.frames.table import Table, sources_attr
from tasktools.core.lazy_imports import pd
from tasktools.core.models import ClusterState, Source
from tasktools.core.redaction import MaskRule, Redaction
from tasktools.core.timespans import Moment
from tasktools.monitor.caches import ErrorCache, TaskCache
from tasktools.monitor.follow import TaskTracker
from tasktools.replay.rates import ChosenRate, RateQuestion
from tasktools.replay.timing import Timing

if TYPE_CHECKING:  # imported where it is begun, since that takes a tenth of `import tasktools`
    from tasktools.history.recorder import Recorder
    from tasktools.replay.ledger import Ledger

Answer = TypeVar("Answer", "pd.DataFrame", Table)


class ClusterBase:
    """The state of a `Cluster` of *broker*; *topics* are known in addition to the reported ones.

    *glance* returns the HTML that a notebook shows under the name of the cluster, *choose_rate* the
    rate of a replay, computed from a history.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        topics: Iterable[str] = (),
        reveal: bool = False,
        mask: Iterable[MaskRule] = (),
        clock: Clock | None = None,
        signature: Callable[[str], inspect.Signature | None] = lambda _task: None,
        timing: Timing | None = None,
        glance: Callable[[Any], str] | None = None,
        choose_rate: Callable[[RateQuestion, Any], ChosenRate] | None = None,
    ) -> None:
        self.broker = broker
        self.timing = timing or Timing()
        self._clock = clock or SystemClock()
        self._always_shown = frozenset(topics)
        """The topics that are shown although they do not exist."""
        self._named = set(self._always_shown)
        self._seen = TaskCache()
        self._log = TaskTracker(self._clock)
        self._errors = ErrorCache()
        self._signature = signature
        self._glance = glance
        self._choose_rate = choose_rate
        self._ledger = _temporary_ledger() if broker.demo else None
        self._redaction = Redaction(mask, reveal=reveal)
        self._is_listening = False
        self._recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
        self._history = history_source_of(
            broker, lambda: set(self._named), self._always_shown, self._clock
        )

    def __repr__(self) -> str:
        broker = self.broker
        words = ["DEMO" if broker.demo else None, broker.address, *self._spoken()]
        words += [f"RabbitMQ {broker.server_version}" if broker.server_version else None]
        words += ["read_only" if broker.read_only else None]
        return f"<Cluster {', '.join(word for word in words if word)}>"

    def _spoken(self) -> list[str]:
        """Return the layout, if its workers are present, and the dialects whose exchanges exist."""
        dialects = self.broker.dialects
        layout = [] if dialects[-1].has_the_rest else [f"layout {self.broker.layout.name}"]
        return [*layout, *(each.title for each in dialects[1:] if each.exchanges)]

    def _repr_html_(self) -> str:
        name = f"<div {UNTYPESET}>{escape(repr(self))}</div>"
        return name if self._glance is None else name + self._glance(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def read_only(self) -> bool:
        """Whether everything that changes the cluster is refused."""
        return self.broker.read_only

    @property
    def is_recorded(self) -> bool:
        """Whether this is a recording, and not a live cluster."""
        return self._history.is_recorded

    @property
    def clock(self) -> Clock:
        """The clock by which ages and silences are measured."""
        return self._clock

    @property
    def reveal(self) -> bool:
        """Whether secrets are shown."""
        return self._redaction.reveal

    @property
    def redaction(self) -> Redaction:
        """The rules by which shown values are masked."""
        return self._redaction

    @property
    def ledger_file(self) -> Ledger:
        """The ledger of the runs on this cluster: the user's file; for the demo a temporary one.
        Raises `LedgerError` when there is no home directory."""
        if self._ledger is not None:
            return self._ledger
        from tasktools.replay.ledger import Ledger

        return Ledger()

    def close(self) -> None:
        """Close connections and end threads. Idempotent.

        Examples
        --------
        >>> import tasktools as tt
        >>> cluster = tt.connect("memory://")
        >>> cluster.close()

        """
        self._history.close()
        self.broker.close()

    def at(self, moment: Moment) -> Self:
        """Return the cluster as it was at a moment of its recording. It need not be closed.

        Parameters
        ----------
        moment
            A time with its zone, as ``"2026-11-24T12:00Z"``, or a span before the end, as ``"2h"``.

        Returns
        -------
        Cluster
            A read-only cluster, whose frames show *moment*.

        Raises
        ------
        NotRecorded
            This is a live cluster, which shows only the present.

        Examples
        --------
        >>> import datetime, os, tempfile
        >>> import tasktools as tt
        >>> path = os.path.join(tempfile.mkdtemp(), "ops.db")
        >>> with tt.connect("demo://") as cluster, cluster.record(path):
        ...     pass
        >>> with tt.connect(f"sqlite:///{path}") as recorded:
        ...     len(recorded.at(datetime.datetime.now(datetime.UTC)).workers())
        8

        """
        broker = self._history.broker_at(moment)
        past = type(self)(
            broker,
            topics=self._named,
            reveal=self.reveal,
            mask=self._redaction.rules,
            clock=broker.clock,
            signature=self._signature,
            timing=self.timing,
            glance=self._glance,
            choose_rate=self._choose_rate,
        )
        past._ledger = self._ledger  # noqa: SLF001 - a cluster of the same class
        return past

    # --- state ------------------------------------------------------------------------

    def _listen(self) -> None:
        """Begin to listen for errors of tasks; a worker that uses our broker does not need it."""
        if not self._is_listening:
            with contextlib.suppress(BrokerError):  # the next look tries again
                self.broker.listen(self._errors.handle_event)
                self._is_listening = True
                self._history.start()

    def _state(self, *, settle: float = 0.0) -> ClusterState:
        self._listen()
        return self.broker.cluster_state(settle=settle)

    # --- frames -----------------------------------------------------------------------

    def _import_pandas_meanwhile(self) -> None:
        """Import pandas in the background, while the first frame waits for the workers' answers.

        The workers are asked first: next to the import, which rarely lets another thread run,
        asking takes 0.3 s.
        """
        if "pandas" not in sys.modules:
            self._listen()
            thread = threading.Thread(target=import_module, args=("pandas",), name="pandas")
            thread.start()

    def _table(
        self,
        schema: Schema,
        rows: Sequence[Sequence[Any]],
        sources: Source | Iterable[Source],
    ) -> Table:
        return self._sourced(Table.of_rows(schema, rows), sources)

    def _frame(
        self,
        schema: Schema,
        rows: Sequence[Sequence[Any]],
        sources: Source | Iterable[Source],
    ) -> pd.DataFrame:
        return self._table(schema, rows, sources).frame()

    def _sourced(self, answer: Answer, sources: Source | Iterable[Source]) -> Answer:
        """Return *answer* with the attrs that every answer of this cluster has."""
        self._set_sources(answer.attrs, [sources] if isinstance(sources, Source) else sources)
        self._set_label(answer.attrs)
        return answer

    def _set_sources(self, attrs: dict[Any, Any], sources: Iterable[Source]) -> None:
        all_sources = tuple(sources)
        attrs["sources"] = sources_attr(all_sources)
        notes = (f"{source.name}: {source.note}" for source in all_sources if source.note)
        attrs["notes"] = [*attrs.get("notes", []), *notes]

    def _note_dialects_without_events(
        self, attrs: dict[Any, Any], dialects: Iterable[str | None], more: Iterable[str] = ()
    ) -> None:
        """Note in *attrs* which dialects' workers send no events, and *more* on workers whose task
        events do not arrive: for them, missing rows mean nothing."""
        notes = [*registry.notes_of_silent(dialects), *more]
        if notes:
            attrs["notes"] += notes
            attrs["unheard"] = True

    def labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return *frame* with attrs that name its cluster.

        Parameters
        ----------
        frame
            A frame of this cluster, changed in place.

        Returns
        -------
        pandas.DataFrame
            The same *frame*.

        Examples
        --------
        >>> import pandas as pd
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.labelled(pd.DataFrame()).attrs["cluster"]
        '<Cluster memory://, layout taskworker>'

        """
        self._set_label(frame.attrs)
        return frame

    def _set_label(self, attrs: dict[Any, Any]) -> None:
        attrs["cluster"] = repr(self)
        notes = attrs.setdefault("notes", [])
        if note := self.broker.note:
            notes.insert(0, note)
            if self.is_recorded:
                attrs["recorded"] = note
        if self.broker.demo:
            attrs["demo"] = "DEMO"


def _temporary_ledger() -> Ledger:
    from tasktools.replay.ledger import TemporaryLedger

    return TemporaryLedger()
