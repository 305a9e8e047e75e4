"""The live board as all that a page shows, in the kernel of `tasktools board`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import TaskToolsError
from tasktools.widgets import html
from tasktools.widgets.dashboard import Dashboard
from tasktools.widgets.feed import Feed, Post, to_the_kernel


class BoardPage(ipywidgets.VBox):
    """The board of the cluster that *connect* opens; until then, the reason why it cannot be
    opened.

    Connecting is tried until it succeeds. *post* passes a call to the thread that owns the widgets;
    by default to the notebook's loop.
    """

    def __init__(self, connect: Callable[[], Cluster], *, post: Post | None = None) -> None:
        self._status = ipywidgets.HTML(html.status("Connecting …"))
        super().__init__([self._status])
        self._post = post or to_the_kernel()
        self._cluster: Cluster | None = None
        receive = weakref.WeakMethod(self._receive)

        def look() -> float:
            cluster = connect()
            self.feed.stop()
            self.feed.tell(cluster=cluster)
            return 0.0

        def tell(news: Mapping[str, Any]) -> None:
            page = receive()
            if page is not None:
                page(news)

        self.feed = Feed("board-page", look, tell, self._post)
        # A page that loads its widgets while one is made may not know it: so the first try is over
        # before there is a page.
        try:
            self._open(connect())
        except TaskToolsError:
            self.feed.start()  # it tells why, and tries again

    def close(self) -> None:
        """End the board, and the connection to its cluster. Idempotent."""
        self.feed.close()
        for part in (*self.children, self._status):
            part.close()
        if self._cluster is not None:
            self._cluster.close()
        super().close()

    def _open(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # Not closed: a page that opens now would log that it knows no such comm.
        self.children = [Dashboard(cluster, post=self._post)]

    def _receive(self, news: Mapping[str, Any]) -> None:
        match news:
            case {"cluster": cluster}:
                self._open(cluster)
            case {"problem": problem}:
                self._status.value = html.alert(problem, "It is tried again every 2 s.")
