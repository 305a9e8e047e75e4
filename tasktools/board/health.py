"""The answer for health checks, which takes no kernel."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from tornado.web import RequestHandler

HEALTH: Final = "/health"


class HealthHandler(RequestHandler):
    """Answers ``ok``, or 503 and ``starting`` as long as the server is not ready for pages.

    It says nothing of the cluster, and so needs no right to see it.
    """

    def initialize(self, *, is_ready: bool) -> None:
        """Take the options of the route."""
        self._is_ready = is_ready

    def get(self) -> None:
        """Answer."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", "text/plain")
        if not self._is_ready:
            self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
        self.finish("ok\n" if self._is_ready else "starting\n")

    def head(self) -> None:
        """Answer without the text."""
        self.get()
