"""The publish widget: its parts, bound to the state, which holds every rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets
import pandas as pd

from tasktools.cluster.cluster import Cluster
from tasktools.widgets import html
from tasktools.widgets.base import LiveWidget
from tasktools.widgets.errors import guarded
from tasktools.widgets.feed import Post
from tasktools.widgets.publish import inputs, results
from tasktools.widgets.publish.batch import Batch
from tasktools.widgets.publish.feed import PublishFeed
from tasktools.widgets.publish.html import static_html
from tasktools.widgets.publish.state import PublishState
from tasktools.widgets.publish.statuses import FINAL
from tasktools.widgets.publish.task_lookup import Registry, resolver, signatures_of


def publish(
    cluster: Cluster,
    *,
    registry: Registry | None = None,
    signatures: Callable[[str], inspect.Signature | None] | None = None,
    batch: pd.DataFrame | None = None,
) -> PublishWidget:
    """Return a widget that publishes tasks and follows them to their end.

    The fields for topic and task suggest names that exist. The widget's thread ends with
    `close()`, and while no browser shows the widget.

    Parameters
    ----------
    cluster
        The cluster to publish to.
    registry
        The registry of your tasks. Arguments of its tasks are entered into a form, other ones as
        JSON.
    signatures
        In place of a registry: a function that returns the signature of a task's function by its
        name, or `None`.
    batch
        Tasks to publish, one per row, as `Cluster.publish_many` takes them; rows without `topic`
        or `task_name` use the values of the form.

    Returns
    -------
    The widget. Its `state` holds everything that is on screen, and does what the buttons do.

    Raises
    ------
    TypeError
        If *batch* is not a DataFrame.

    Examples
    --------
    >>> import tasktools as tt
    >>> from tasktools.demo import signatures
    >>> with tt.connect("demo://") as cluster:
    ...     widget = tt.widgets.publish(cluster, signatures=signatures)
    ...     widget.state.task = "shop.emails:send_email"
    ...     [field.name for field in widget.state.fields]
    ...     widget.close()
    ['to', 'template']

    """
    return PublishWidget(cluster, registry=registry, signatures=signatures, batch=batch)


class PublishWidget(LiveWidget[PublishState, PublishFeed]):
    """The publish widget; `publish` makes it.

    `state` holds everything that is on screen, and can be used from code:
    ``widget.state.topic = "emails"``, ``widget.state.publish()``. *post* passes a call to the
    thread that owns the widgets; by default to the notebook's loop.
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
        checked = None if batch is None else Batch.of(batch)
        state = PublishState(
            resolve=resolver(broker, registry),
            signatures=signatures or signatures_of(registry),
            read_only=cluster.read_only,
            redaction=cluster.redaction,
        )
        registered = [task.func_name for task in registry or ()]
        self._begin(state, partial(PublishFeed, cluster, registered=registered), post)
        self._heading = html.heading("Publish", f"to {broker.address}", demo=broker.demo)
        self._show(
            [
                ipywidgets.HTML(self._heading),
                inputs.where_and_what(state),
                inputs.arguments(state),
                inputs.options(state),
                results.buttons(state),
                results.progress(state),
                results.errors(state),
                results.tasks(state),
            ],
            "tasktools-publish",
            html.caption("Publish to", broker.address, demo=broker.demo),
        )
        self._bind()
        if checked is not None:
            state.batch, state.mode = checked, "batch"
        self.feed.start()

    async def ended(self, *, within: float = 60.0) -> pd.DataFrame:
        """Wait until everything is published (`idle`), and then until all tasks have ended.

        The widget keeps working while a cell of a notebook awaits this.

        Parameters
        ----------
        within
            Seconds to wait for the end of the tasks; the time of publishing does not count.

        Returns
        -------
        The published tasks, one per row, with their outcome (schema `PUBLISHED`), what is known
        of their execution (`FOLLOWED`), and `fate`, which is both in one word.

        """
        state = await self.idle()
        await state.until(lambda: state.shown["fate"].isin(FINAL).all(), within=within)
        return state.shown

    def _static_html(self) -> str:
        return self._heading + static_html(self.state)

    def _bind(self) -> None:
        state, feed = self.state, self.feed

        def send(change: Any) -> None:
            if change["new"] is not None:
                feed.publish(change["new"])

        def want(_change: Any) -> None:
            feed.want(state.wanted_topics)

        state.observe(guarded(state, "Publishing", send), "order")
        state.observe(guarded(state, "Looking for the topic", want), "wanted_topics")
