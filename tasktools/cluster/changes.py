"""Changes of a cluster over a span of time, for `tasktools.timeline`."""

from __future__ import annotations

from tasktools.cluster.history import Analysis
from tasktools.core.timespans import Moment
from tasktools.history import changes
from tasktools.history.changes import Changes


class RecordedChanges(Analysis):
    """The part of `Cluster` that reads what a timeline is made of."""

    def changes(self, *, since: Moment = "1h", until: Moment | None = None) -> Changes:
        """Return what a timeline is made of, with nothing masked.

        For what makes a picture of it; `tasktools.timeline` is easier to read.

        Parameters
        ----------
        since
            Where it begins: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            Where it ends; by default now, or the end of the recording.

        Returns
        -------
        Changes
            What changed, and the samples of topics that were not empty.

        Raises
        ------
        ValueError
            *since* is not before *until*.
        RecordingError
            The recording cannot be read.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.changes(since="1h").failures
        ()

        """
        query = self._query(since, until)
        with query.recording.read() as connection:
            return changes.read(connection, query.window)
