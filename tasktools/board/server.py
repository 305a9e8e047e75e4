"""The server of the live board, which answers before Voilà is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from importlib import import_module
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

from tasktools.board.health import HEALTH, HealthHandler
from tasktools.board.starting_page import Theme, starting_page, theme_of

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: its terminal was closed
_BACKLOG: Final = 128
_RELOAD: Final = "<script>location.reload()</script>"


class BoardServer:
    """A server that listens as soon as it is made, so that a browser can be opened.

    Parameters
    ----------
    address
        The address of this machine at which the server listens.
    port
        The port; 0: any free port.
    theme
        The theme of a page whose address names none.

    Raises
    ------
    OSError
        The server cannot listen at this address and port.

    """

    def __init__(self, address: str, port: int, theme: Theme) -> None:
        self._address, self._theme = address, theme
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, port), family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    async def run(self) -> None:
        """Serve until SIGINT, SIGTERM or SIGHUP; the kernels end with it."""
        loop = asyncio.get_running_loop()
        ended, loaded = asyncio.Event(), asyncio.Event()
        options = {"theme": self._theme, "loaded": loaded}
        handlers: list[Any] = [
            (HEALTH, HealthHandler, {"is_ready": False}),
            (r".*", _StartingHandler, options),
        ]
        # Without a line in the terminal for each 503, which is no error.
        served = _Served(Application(handlers, log_function=lambda _handler: None))
        server = HTTPServer(served)
        server.add_socket(self._socket)
        for number in _ending():
            loop.add_signal_handler(number, ended.set)
        # A kernel whose page is left may still say something: that is warned of.
        logging.getLogger("tornado.general").setLevel(logging.ERROR)
        board_app = await asyncio.to_thread(_load_voila)
        app = board_app(self._address, self.port, self._theme)
        for number in _ending():  # Voilà has put a handler of its own in place of one
            loop.add_signal_handler(number, ended.set)
        try:
            if not ended.is_set():
                app.start()
                served.application = app.app
            loaded.set()
            await ended.wait()
        finally:
            # What fails from here on does so because it is ended: no news for who ends it.
            loop.set_exception_handler(lambda _loop, _context: None)
            server.stop()
            await app.end()


class _Served(HTTPServerConnectionDelegate):
    """Passes requests to *application*, which can be replaced."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        return self.application.start_request(server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        self.application.on_close(server_conn)


class _StartingHandler(RequestHandler):
    """A page that says "starting …", and loads itself again once Voilà is *loaded*."""

    def initialize(self, theme: Theme, loaded: asyncio.Event) -> None:
        self._theme, self._loaded = theme, loaded

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        theme = theme_of(self.get_query_argument("theme", None), self._theme)
        self.write(starting_page(theme))
        await self.flush()
        await self._loaded.wait()
        with contextlib.suppress(StreamClosedError):  # it was left meanwhile
            await self.finish(_RELOAD)


def _ending() -> list[signal.Signals]:
    """Return the signals that end the server; SIGHUP does not under nohup."""
    return [number for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN]


def _load_voila() -> Any:
    """Import Voilà, which takes seconds."""
    return import_module("tasktools.board.voila_app").BoardApp
