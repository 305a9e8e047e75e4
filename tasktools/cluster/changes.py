"""Changes of a cluster over a span of time, for `tasktools.timeline`."""

from __future__ import annotations

from tasktools.cluster.history import Analysis
from tasktools.core.timespans import Moment
from tasktools.history import changes
from tasktools.history.changes import Changes


class RecordedChanges(Analysis):
    """The part of `Cluster` that reads the changes for a timeline."""

    def changes(self, *, since: Moment = "1h", until: Moment | None = None) -> Changes:
        """Return the changes for a timeline, with nothing masked.

        For code that draws a timeline; `tasktools.timeline` is easier to read.

        Parameters
        ----------
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.

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
