"""`report`: what happened to a cluster, as one HTML file to read, print and pass on."""

from __future__ import annotations

import os
from pathlib import Path

from tasktools.cluster.cluster import Cluster
from tasktools.core import files
from tasktools.core.timespans import Moment
from tasktools.reports.contents import gather
from tasktools.reports.document import document


def report(
    cluster: Cluster,
    path: str | os.PathLike[str],
    *,
    since: Moment = "2h",
    until: Moment | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a report on a cluster: one HTML file that asks the network for nothing.

    It has the verdicts of `tasktools.diagnose` and what was ruled out, the timeline, numbers and
    figures before and after, groups of failures with an example each, versions, gaps, and all
    frames behind them as CSV. Secrets are masked, also where the cluster shows them. Nothing in the
    cluster is changed, and no queue is looked into. A recording gives the same bytes for the same
    time.

    Parameters
    ----------
    cluster
        The cluster: a recording, or a live cluster, of which only events received by this process
        are known.
    path
        The file that is written; only you can read it.
    since
        The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"2h"``).
    until
        The end, and the moment that is diagnosed; by default now, or the end of the recording.
    overwrite
        Replace a file that is there already.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    FileError
        The file cannot be written, is a link, or is there already; it was left as it was.
    ValueError
        *since* is not before *until*.
    RecordingError
        The recording cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import tasktools as tt
    >>> path = os.path.join(tempfile.mkdtemp(), "incident.html")
    >>> with tt.connect("demo://") as cluster:
    ...     tt.report(cluster, path, since="10min").name
    'incident.html'

    """
    target = Path(path)
    files.check_target(target, overwrite=overwrite)
    page = document(gather(cluster, since, until)).encode("utf-8")
    files.write(target, page, overwrite=overwrite)
    return target
