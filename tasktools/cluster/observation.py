"""An observation of the cluster at one moment, with the minutes before it, for diagnosis."""

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
    """The address of the cluster; of a recording, that of the recorded cluster."""


class Observing(ClusterBase):
    """The part of `Cluster` that returns an observation: all that is known of one moment."""

    @contextlib.contextmanager
    def observed(self, *, settle: float = 0.0) -> Iterator[Observation]:
        """Sample the cluster once, and open the history before, for as long as the context.

        For `tasktools.diagnose`, which judges the cluster as a whole; frames are easier to use.

        Parameters
        ----------
        settle
            Seconds to wait for the workers' first heartbeats, as in `workers`.

        Returns
        -------
        Observation
            The sample, and the history before it.

        Raises
        ------
        RecordingError
            The recording cannot be read.

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
