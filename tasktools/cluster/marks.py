"""Marks of operators: notes of what happened, in addition to recorded data."""

from __future__ import annotations

import secrets

from tasktools.cluster.history import Analysis
from tasktools.core import marks
from tasktools.core.clock import moment
from tasktools.core.errors import BrokerError, Closed, ReadOnly
from tasktools.core.frames import history_schemas as schemas
from tasktools.core.lazy_imports import pd
from tasktools.core.marks import Mark
from tasktools.core.models import Source
from tasktools.core.timespans import Moment
from tasktools.history import records
from tasktools.history.identity import who

_LOCAL_ONLY = (
    "only this process and its recorders keep this mark; other recorders of the cluster do not "
    "get it: {}"
)


class Marks(Analysis):
    """The part of `Cluster` that notes what operators did, and shows it."""

    def mark(self, text: str) -> pd.DataFrame:
        """Note what happened now, as ``"deploy 1.4"``: in this process's history and its recorders,
        and in those of every other process that listens to the cluster.

        It is sent to them as an event, which workers ignore. On a cluster opened with
        ``read_only=True`` nothing is sent, and where nothing can be sent (an alarm, no permission)
        the mark is noted here all the same; a note and ``attrs["sent"]`` say so. It is kept as
        long as samples are.

        Parameters
        ----------
        text
            One line of at most 200 visible characters. Secrets in it are masked on display, but the
            text is sent and recorded unmasked.

        Returns
        -------
        pandas.DataFrame
            The mark, one row (schema `MARKS`).

        Raises
        ------
        ValueError
            *text* is empty, too long, or has control characters; nothing was marked.
        ReadOnly
            This is a recording.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:
        ...     mark = cluster.mark("deploy 1.4")
        ...     cluster.marks(since="1h")["text"].tolist()
        ['deploy 1.4']

        """
        text = marks.checked(text)
        if self.is_recorded:
            raise ReadOnly(
                "This is a recording, in which nothing happens any more; nothing was marked. Mark "
                "the cluster itself: whoever records it gets the mark."
            )
        mark = Mark(
            sender_id=f"tasktools-{secrets.token_hex(4)}",
            mark=secrets.token_hex(8),
            text=text,
            who=who(),
        )
        self._listen()
        at = moment(self._clock.time())
        for recorder in self._recorders:
            recorder.handle_event(mark)
        self._history.handle_event(mark)
        why = self._send_mark(mark)
        row = (at, self._redaction.text(text), mark.who)
        note = None if why is None else _LOCAL_ONLY.format(why)
        source = Source(name="events", ok=why is None, age=0.0, note=note)
        frame = self._frame(schemas.MARKS, [row], source)
        frame.attrs["sent"] = why is None
        frame.attrs["why_not_sent"] = why
        return frame

    def _send_mark(self, mark: Mark) -> str | None:
        """Send *mark* to all listening clients; return why it could not be sent."""
        if self.read_only:
            return "this cluster was opened with read_only=True"
        try:
            self.broker.broadcast(mark)
        except Closed:
            raise
        except BrokerError as error:
            return str(error)
        return None

    def marks(self, *, since: Moment = "1D", until: Moment | None = None) -> pd.DataFrame:
        """Return the marks of operators, in the order of time.

        Parameters
        ----------
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.

        Returns
        -------
        pandas.DataFrame
            One row a mark (schema `MARKS`).

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.marks().columns.tolist()
        ['at', 'text', 'who']

        """
        query = self._query(since, until)
        return self._answer(records.marks, query, redaction=self._redaction).frame()
