"""The cluster as it is seen at one moment, with the minutes before, for what judges it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec

from tasktools.cluster.base import ClusterBase
from tasktools.history.recent import RecentHistory
from tasktools.history.samples import Snapshot


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of the cluster; `recent` can be asked as long as the observation is open."""

    sample: Snapshot
    recent: RecentHistory
    address: str
    """Of the cluster, also where this is a recording of it."""


class Observing(ClusterBase):
    """The part of `Cluster` that hands out all that is known at a moment."""

    @contextlib.contextmanager
    def observed(self, *, settle: float = 0.0) -> Iterator[Observation]:
        """Sample the cluster once, and open the history before, for as long as the context.

        For what judges the cluster as a whole (`tasktools.diagnose`); frames are easier to use.

        Parameters
        ----------
        settle
            Seconds that workers may have to speak for the first time, as in `workers`.

        Returns
        -------
        Observation
            What was sampled, and the history before.

        Raises
        ------
        RecordingError
            It cannot be read.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster, cluster.observed() as observation:
        ...     len(observation.sample.state.workers)
        8

        """
        self._listen()
        sample, recording = self._history.observe(settle)
        with recording.read() as connection:
            yield Observation(
                sample=sample,
                recent=RecentHistory(connection, sample.at),
                address=self._history.address,
            )
