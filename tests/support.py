"""Plain pika and a proxy, to check what really happened and to make things go wrong."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any

import pika


class Raw:
    """Plain pika on the same vhost."""

    def __init__(self, dsn: str) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(dsn))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def declare(self, queue: str, **arguments: Any) -> str:
        """Declare a durable queue; `x_queue_type="quorum"` and so on."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.channel.queue_declare(queue, durable=True, arguments=named)
        return queue

    def put(self, queue: str, body: bytes, **properties: Any) -> None:
        """Put one persistent message into *queue*, confirmed."""
        self.channel.basic_publish(
            "", queue, body, pika.BasicProperties(delivery_mode=2, **properties), mandatory=True
        )

    def fill(self, queue: str, count: int) -> list[bytes]:
        """Put *count* distinct messages of all kinds into *queue*; returns their bodies."""
        bodies = [
            json.dumps({"kwargs": "lies", "n": n}).encode() if n % 3 else b"\xff no JSON %d" % n
            for n in range(count)
        ]
        for n, body in enumerate(bodies):
            self.put(queue, body, message_id=f"m{n}", headers={"n": n} if n % 2 else None)
        return bodies

    def depth(self, queue: str) -> int:
        """Return the number of ready messages of *queue*."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def read_all(self, queue: str) -> list[tuple[pika.BasicProperties, bytes]]:
        """Take every ready message of *queue*, in order."""
        messages: list[tuple[pika.BasicProperties, bytes]] = []
        while True:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if method is None:
                return messages
            messages.append((properties, body))

    def bodies(self, queue: str) -> list[bytes]:
        """Take every ready message of *queue*, in order, and return the bodies."""
        return [body for _, body in self.read_all(queue)]


class Proxy:
    """Passes bytes between a client and the broker, until it is told to cut the line."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._stalled: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def through(self, dsn: str) -> str:
        """Return the broker's *dsn* with the port of this proxy."""
        return dsn.replace(f":{self._target}", f":{self.port}")

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._open.append(client)
            try:
                broker = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # it is down
                client.close()
                continue
            self._open.append(broker)
            for source, sink in ((client, broker), (broker, client)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if sink not in self._stalled:
                    sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """Let nothing through on the line that was opened last; it stays open."""
        self._stalled.update(self._open[-2:])

    def cut(self) -> None:
        """Cut all connections; new ones are passed on again."""
        while self._open:
            line = self._open.pop()
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def close(self) -> None:
        """Cut everything and listen no more."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # it wakes who waits for a line
        self._accepting.join()
        self._server.close()
        self.cut()
