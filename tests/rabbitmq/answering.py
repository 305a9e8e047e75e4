"""A proxy that answers one AMQP method in the broker's place, with an error of its choice."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Final, Literal

from pika import frame, spec

WORDS: Final = "the moon is full"
"""The answers that the broker is made to give."""
_HEADER: Final = struct.Struct(">BHI")  # type, channel, size
_METHOD_ID: Final = struct.Struct(">HH")
_ANSWERED_CLASSES: Final = (20, 40, 50, 60, 85)  # channel, exchange, queue, basic, confirm
_OPEN, _CLOSE, _CLOSE_OK = (20, 10), (20, 40), (20, 41)

Scope = Literal["channel", "connection"]


class AnsweringProxy:
    """Passes frames on to the broker at *port*, but for the method it is told to answer."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._count = 0
        self._fail_at: int | None = None
        self._scope: Scope = "channel"
        self._code = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def pass_all(self) -> int:
        """Answer nothing from now on; returns how many methods came since the last call of this
        or of `fail`."""
        with self._lock:
            self._fail_at, count, self._count = None, self._count, 0
            return count

    def fail(self, at: int, scope: Scope, code: int) -> None:
        """Answer the method number *at* (from 0) that comes from now on, by closing its channel or
        its connection with *code*."""
        with self._lock:
            self._count, self._fail_at, self._scope, self._code = 0, at, scope, code

    def close(self) -> None:
        """Cut everything."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for line in self._open:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for line in self._open:
            line.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                broker = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, broker]
                line = _Line(self, client, broker)
                for run in (line.to_broker, line.to_client):
                    self._threads.append(threading.Thread(target=run, daemon=True))
                    self._threads[-1].start()

    def is_answered(self) -> tuple[Scope, int] | None:
        """Count a method; say whether it is answered here, and how."""
        with self._lock:
            is_hit = self._count == self._fail_at
            self._count += 1
            return (self._scope, self._code) if is_hit else None


class _Line:
    """One connection through the proxy."""

    def __init__(self, proxy: AnsweringProxy, client: socket.socket, broker: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._broker = broker
        self._writing = threading.Lock()
        self._closed: set[int] = set()  # channels that were closed here, towards the client
        self._closing: set[int] = set()  # the same, towards the broker

    def to_broker(self) -> None:
        """Pass on what the client sends."""
        with contextlib.suppress(OSError):
            self._broker.sendall(_read(self._client, 8))
            while True:
                kind, channel, whole = _frame(self._client)
                method = _METHOD_ID.unpack_from(whole, 7) if kind == spec.FRAME_METHOD else None
                if channel in self._closed:
                    if method == _CLOSE:  # both at once
                        with self._writing:
                            self._client.sendall(frame.Method(channel, _ok()).marshal())
                    if method == _CLOSE_OK:
                        self._closed.discard(channel)
                    continue
                is_call = method is not None and method[0] in _ANSWERED_CLASSES
                if is_call and method not in (_OPEN, _CLOSE, _CLOSE_OK):
                    answer = self._proxy.is_answered()
                    if answer is not None and not self._answer(channel, *answer):
                        break
                    if answer is not None:
                        continue
                self._broker.sendall(whole)
        self._end()

    def _answer(self, channel: int, scope: Scope, code: int) -> bool:
        """Close the channel or the connection; says whether the line goes on."""
        text = f"ODD_ERROR - {WORDS}"
        close: spec.Channel.Close | spec.Connection.Close
        if scope == "connection":
            close = spec.Connection.Close(code, text, 0, 0)
            with self._writing:
                self._client.sendall(frame.Method(0, close).marshal())
            while _METHOD_ID.unpack_from(_frame(self._client)[2] + bytes(4), 7) != (10, 51):
                pass
            return False
        self._closed.add(channel)
        self._closing.add(channel)
        close = spec.Channel.Close(code, text, 0, 0)
        with self._writing:
            self._client.sendall(frame.Method(channel, close).marshal())
        bye = spec.Channel.Close(200, "bye", 0, 0)
        self._broker.sendall(frame.Method(channel, bye).marshal())
        return True

    def to_client(self) -> None:
        """Pass on what the broker sends."""
        with contextlib.suppress(OSError):
            while True:
                kind, channel, whole = _frame(self._broker)
                if channel in self._closing:
                    is_ok = kind == spec.FRAME_METHOD and (
                        _METHOD_ID.unpack_from(whole, 7) == _CLOSE_OK
                    )
                    if is_ok:
                        self._closing.discard(channel)
                    continue
                with self._writing:
                    self._client.sendall(whole)
        self._end()

    def _end(self) -> None:
        for line in (self._client, self._broker):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


def _ok() -> spec.Channel.CloseOk:
    return spec.Channel.CloseOk()


def _frame(source: socket.socket) -> tuple[int, int, bytes]:
    """Read a frame; returns its type, its channel and all of it."""
    header = _read(source, _HEADER.size)
    kind, channel, size = _HEADER.unpack(header)
    return kind, channel, header + _read(source, size + 1)


def _read(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = source.recv(size - len(data))
        if not part:
            raise OSError("the line is cut")
        data += part
    return data
