"""The worst finding of a cluster at a glance, as HTML beside the cluster in a notebook.

It shows the facts known at once, without waiting for workers or for a broker that does not answer.
"""

from __future__ import annotations

import threading
from html import escape
from typing import Final

from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import TaskToolsError
from tasktools.core.escaping import UNTYPESET, harmless
from tasktools.diagnosis.looks import look
from tasktools.diagnosis.summary import headline, worst

_WITHIN_SECONDS: Final = 2.0
_MORE: Final = "tt.diagnose(cluster)"


def glance(cluster: Cluster, *, within: float = _WITHIN_SECONDS) -> str:
    """Return the worst finding of *cluster* as HTML, after *within* seconds at most."""
    answers: list[str] = []
    thread = threading.Thread(
        target=lambda: answers.append(_headline(cluster)), name="tasktools-glance", daemon=True
    )
    thread.start()
    thread.join(within)
    text = answers[0] if answers else f"No answer within {within:g} s; {_MORE} waits for one."
    return f"<div {UNTYPESET}>{text}</div>"


def _headline(cluster: Cluster) -> str:
    try:
        rows, _, left_behind = look(cluster, settle=0.0, wait=0.0)
    except TaskToolsError as error:
        return escape(harmless(f"Cannot tell what is wrong: {error}"))
    row = worst(rows)
    text = escape(harmless(headline(rows, left_behind)))
    if row is not None and row.verdict == "found":
        text = f"<b>{text}</b>"
    return f"{text} <code>{_MORE}</code>"
