"""What is on screen: widgets, bound to the state. Every rule is in the state."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, Final

import ipywidgets
import pandas as pd

from tasktools.ops.cluster import Cluster
from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Post
from tasktools.widgets.live import LiveWidget
from tasktools.widgets.publishing import figure, html, inputs, results
from tasktools.widgets.publishing.batch import Batch
from tasktools.widgets.publishing.fates import FINAL
from tasktools.widgets.publishing.feed import PublishFeed
from tasktools.widgets.publishing.names import Registry, resolver, signatures_of
from tasktools.widgets.publishing.state import PublishState

_GLANCE: Final = 0.1


def publish(
    cluster: Cluster,
    *,
    registry: Registry | None = None,
    signatures: Callable[[str], inspect.Signature | None] | None = None,
    batch: pd.DataFrame | None = None,
) -> PublishWidget:
    """Return a widget that publishes tasks to *cluster* and follows them to their end.

    Topics and tasks are completed from what exists and was seen. With a *registry* of tasks (or
    *signatures*, which tells the signature of a function by its name) arguments are entered into
    a form, else as JSON. *batch* is a frame as `Cluster.publish_many` takes it; `topic` and
    `task_name` may be left to the form.

    Its thread ends with `close()`, and while no browser shows the widget.
    """
    return PublishWidget(cluster, registry=registry, signatures=signatures, batch=batch)


class PublishWidget(LiveWidget):
    """The publish widget; `publish` makes it.

    `state` holds what was entered and what came of it, and can be used in place of the screen:
    ``widget.state.topic = "emails"``, ``widget.state.publish()``. *post* brings a call into the
    thread that owns the widgets; by default it is the notebook's loop.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        registry: Registry | None = None,
        signatures: Callable[[str], inspect.Signature | None] | None = None,
        batch: pd.DataFrame | None = None,
        post: Post | None = None,
    ) -> None:
        super().__init__()
        broker = cluster.broker
        given = None if batch is None else Batch.of(batch)
        self.state = state = PublishState(
            resolve=resolver(broker, registry),
            signatures=signatures or signatures_of(registry),
            read_only=cluster.read_only,
        )
        registered = [task.func_name for task in registry or ()]
        self.feed: PublishFeed = self._begin(
            state,
            lambda tell, into: PublishFeed(cluster, tell, into, registered=registered),
            post,
        )
        heading = ipywidgets.HTML(html.STYLE + html.head(broker.address, demo=broker.demo))
        self._show(
            [
                heading,
                inputs.where_and_what(state),
                inputs.arguments(state),
                inputs.options(state),
                results.buttons(state),
                results.progress(state),
                results.errors(state),
                results.tasks(state, demo=broker.demo),
            ],
            "tasktools-publish",
        )
        self._bind()
        if given is not None:
            state.batch, state.mode = given, "batch"
        self.feed.start()

    async def ended(self, *, within: float = 60.0) -> pd.DataFrame:
        """Wait until all tasks have ended, or for *within* seconds; returns what became of them.

        While a cell of a notebook awaits this, the widget goes on.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if not self.state.busy and self.state.shown["fate"].isin(FINAL).all():
                break
            await asyncio.sleep(_GLANCE)
        return self.state.shown

    def _bind(self) -> None:
        state, feed = self.state, self.feed

        def send(change: Any) -> None:
            feed.publish(change["new"])

        def want(_change: Any) -> None:
            feed.want(state.wanted_topics)

        def prepare(_change: Any) -> None:
            feed.do(figure.load)  # it takes a second, which the notebook need not wait for

        state.observe(guarded(state, "Publishing", send), "order")
        state.observe(guarded(state, "Looking for the topic", want), "wanted_topics")
        state.observe(guarded(state, "Loading plotly", prepare), "is_batch")
