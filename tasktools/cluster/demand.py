"""The demand of a cluster over time, as arrays for capacity planning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasktools.cluster.history import Analysis
from tasktools.core.timespans import Moment

if TYPE_CHECKING:  # imported where it is opened: it takes numpy
    from tasktools.history.demand_reader import DemandReader


class RecordedDemand(Analysis):
    """The part of `Cluster` that returns arrivals and tries as arrays."""

    @contextlib.contextmanager
    def demand(
        self, *, since: Moment = "28D", until: Moment | None = None
    ) -> Iterator[DemandReader]:
        """Open the recorded arrivals and tries, for as long as the context.

        For `tasktools.capacity`, which computes with all of them; frames are easier to use.

        Parameters
        ----------
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.

        Returns
        -------
        DemandReader
            Arrays by topic, and the workers that were present.

        Raises
        ------
        RecordingError
            The recording cannot be read.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster, cluster.demand(since="1h") as reader:
        ...     sorted(reader.topics())
        ['emails', 'exports', 'images', 'newsletters', 'orders', 'reports']

        """
        from tasktools.history.demand_reader import DemandReader

        query = self._query(since, until, raw=True)
        with query.recording.read() as connection:
            yield DemandReader(connection, query.window)
