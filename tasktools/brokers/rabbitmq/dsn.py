"""Reading a DSN: ``amqp://user:password@host:port/vhost?cafile=…``; ``amqps`` for TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tasktools.core.errors import MalformedDSN

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_TLS_OPTIONS: Final = ("cafile", "certfile", "keyfile")


@dataclass(frozen=True, slots=True)
class DSN:
    """Where a RabbitMQ is and who we are there; its repr and `str` never show the password."""

    host: str
    port: int
    vhost: str
    user: str
    password: str = field(repr=False)
    tls: bool = False
    tls_files: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> DSN:
        """Read *text*.

        Options after ``?``, for ``amqps`` only: *cafile* (certificates to trust, else the
        system's), *certfile* and *keyfile* (our own). Raises `MalformedDSN`.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise MalformedDSN(_say("its port is not a number from 1 to 65535")) from None
        if parts.scheme not in _PORTS:
            raise MalformedDSN(_say("it does not begin with amqp:// or amqps://"))
        if not parts.hostname:
            raise MalformedDSN(_say("it names no host"))
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":
            raise MalformedDSN(_say("a / ? or # in its password is written %2F, %3F or %23"))
        vhost = unquote(parts.path[1:]) or "/"
        if "/" in parts.path[1:]:
            raise MalformedDSN(_say("its vhost has a slash, which is written %2F"))
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            vhost=vhost,
            user=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            tls=parts.scheme == "amqps",
            tls_files=_files(parts.scheme, parts.query),
        )

    def __str__(self) -> str:
        scheme = "amqps" if self.tls else "amqp"
        vhost = "" if self.vhost == "/" else self.vhost
        return f"{scheme}://{self.user}@{self.place}/{vhost}"

    @property
    def place(self) -> str:
        """Host and port, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def tls_context(self) -> ssl.SSLContext:
        """Return the context for TLS; the server's certificate and name are always checked."""
        try:
            context = ssl.create_default_context(cafile=self.tls_files.get("cafile"))
            if "certfile" in self.tls_files:
                context.load_cert_chain(self.tls_files["certfile"], self.tls_files.get("keyfile"))
        except OSError as error:
            raise MalformedDSN(
                _say(f"its certificates cannot be read ({error.strerror})")
            ) from None
        return context


def _files(scheme: str, query: str) -> dict[str, Path]:
    files = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _TLS_OPTIONS:
            options = ", ".join(_TLS_OPTIONS)
            raise MalformedDSN(_say(f"it has an unknown option (there are {options})"))
        if scheme != "amqps":
            raise MalformedDSN(_say(f"its option {name!r} is for amqps:// only"))
        path = Path(value)
        if not path.is_file():
            raise MalformedDSN(_say(f"the file of its option {name!r} does not exist"))
        files[name] = path
    return files


def _say(what: str) -> str:
    return (
        f"The DSN cannot be used: {what}. "
        "It looks like amqp://user:password@host:5672/vhost; nothing was contacted."
    )
