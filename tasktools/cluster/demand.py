"""The demand of a cluster over time, for what computes with all of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasktools.cluster.history import Analysis
from tasktools.core.timespans import Moment

if TYPE_CHECKING:  # imported where it is opened: it takes numpy
    from tasktools.history.demand_reader import DemandReader


class RecordedDemand(Analysis):
    """The part of `Cluster` that hands out what arrived and was tried, as arrays."""

    @contextlib.contextmanager
    def demand(
        self, *, since: Moment = "28D", until: Moment | None = None
    ) -> Iterator[DemandReader]:
        """Open what arrived and was tried, for as long as the context.

        For what computes with all of it (`tasktools.capacity`); frames are easier to use.

        Parameters
        ----------
        since
            Where it begins: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            Where it ends; by default now, or the end of the recording.

        Returns
        -------
        DemandReader
            Arrays by topic, and the workers that were there.

        Raises
        ------
        RecordingError
            It cannot be read.

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
