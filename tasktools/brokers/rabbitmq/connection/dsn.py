"""A parser of DSNs: ``amqp://user:password@host:port/vhost?cafile=…``; ``amqps`` for TLS."""

from __future__ import annotations

import ast
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import pika

from tasktools.core.errors import MalformedDSN

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_TLS_OPTIONS: Final = ("cafile", "certfile", "keyfile")
_PIKA_TLS_OPTIONS: Final = {"ca_certs": "cafile", "certfile": "certfile", "keyfile": "keyfile"}
_PIKA_OPTIONS: Final = (
    "backpressure_detection",
    "blocked_connection_timeout",
    "channel_max",
    "client_properties",
    "connection_attempts",
    "frame_max",
    "heartbeat",
    "locale",
    "retry_delay",
    "socket_timeout",
    "ssl_options",
    "stack_timeout",
    "tcp_options",
)
_HEARTBEAT_SECONDS: Final = 20
_MAX_VHOST_BYTES: Final = 255
_SEVERAL_HOSTS: Final = re.compile(r"[,;]\s*amqps?://")


@dataclass(frozen=True, slots=True)
class DSN:
    """A RabbitMQ and the user to connect as; its repr and `str` never show the password."""

    host: str
    port: int
    vhost: str
    user: str
    password: str = field(repr=False)
    tls: bool = False
    tls_files: dict[str, Path] = field(default_factory=dict)
    heartbeat: int = _HEARTBEAT_SECONDS
    channel_max: int = pika.ConnectionParameters.DEFAULT_CHANNEL_MAX
    frame_max: int = pika.ConnectionParameters.DEFAULT_FRAME_MAX

    @classmethod
    def parse(cls, text: str) -> DSN:
        """Read *text*.

        Options after ``?``: for ``amqps``, *cafile* (certificates to trust, else the system's),
        *certfile* and *keyfile* (our own); and those of pika's URLs. Of these, `ssl_options` may
        name the same files, `channel_max` and `frame_max` are obeyed, and `heartbeat` where it is
        below 20 s; waiting times are set by *timeout*. Raises `MalformedDSN`.
        """
        try:
            parts = urlsplit(text)
        except ValueError:
            raise MalformedDSN(_unusable("its host cannot be read")) from None
        if parts.scheme not in _PORTS:
            raise MalformedDSN(_unusable("it does not begin with amqp:// or amqps://"))
        if _SEVERAL_HOSTS.search(text) or {",", ";"} & {*parts.netloc.rpartition("@")[2]}:
            raise MalformedDSN(_unusable("it names several hosts; name one of them"))
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":
            raise MalformedDSN(_unusable("a / ? or # in its password is written %2F, %3F or %23"))
        if not parts.hostname:
            raise MalformedDSN(_unusable("it names no host"))
        if "/" in parts.path[1:]:
            raise MalformedDSN(_unusable("its vhost has a slash, which is written %2F"))
        vhost = _decoded(parts.path[1:]) or "/"
        if len(vhost.encode()) > _MAX_VHOST_BYTES:
            raise MalformedDSN(_unusable(f"its vhost has more than {_MAX_VHOST_BYTES} bytes"))
        options = _options(parts.query)
        return cls(
            host=_decoded(parts.hostname),
            port=_port(parts),
            vhost=vhost,
            user=_decoded(parts.username or "guest"),
            password=_decoded(parts.password or "guest"),
            tls=parts.scheme == "amqps",
            tls_files=_files(parts.scheme, options),
            **_pika_values(options),
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
                _unusable(f"its certificates cannot be read ({error.strerror})")
            ) from None
        return context


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise MalformedDSN(_unusable("its port is not a number from 1 to 65535"))
    return port or _PORTS[parts.scheme]


def _decoded(text: str) -> str:
    """Return *text* without its %-escapes."""
    try:
        decoded = unquote(text, errors="strict")
        decoded.encode()
    except UnicodeError:
        raise MalformedDSN(_unusable("it is not UTF-8, also where it is written with %")) from None
    return decoded


def _options(query: str) -> dict[str, str]:
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
    except ValueError:
        raise MalformedDSN(_unusable("its options cannot be read")) from None
    if not options.keys() <= {*_TLS_OPTIONS, *_PIKA_OPTIONS}:
        known = ", ".join(_TLS_OPTIONS)
        raise MalformedDSN(_unusable(f"it has an unknown option (there are {known}, and pika's)"))
    return options


def _files(scheme: str, options: Mapping[str, str]) -> dict[str, Path]:
    named = {name: value for name, value in options.items() if name in _TLS_OPTIONS}
    for name, value in _ssl_options(options.get("ssl_options", "{}")).items():
        named.setdefault(name, value)
    files = {}
    for name, value in named.items():
        if scheme != "amqps":
            raise MalformedDSN(_unusable(f"its option {name!r} is for amqps:// only"))
        path = Path(value)
        if "\0" in value or not path.is_file():
            raise MalformedDSN(_unusable(f"the file of its option {name!r} does not exist"))
        files[name] = path
    return files


def _ssl_options(text: str) -> dict[str, str]:
    """Return the certificate files named in pika's option. The server's certificate is always
    checked; an option that switches the check off is refused."""
    try:
        options = ast.literal_eval(text)
        files = {_PIKA_TLS_OPTIONS[name]: str(value) for name, value in options.items()}
    except (ValueError, SyntaxError, KeyError, AttributeError, RecursionError, MemoryError):
        known = ", ".join(_PIKA_TLS_OPTIONS)
        raise MalformedDSN(_unusable(f"its ssl_options can only have {known}")) from None
    return files


def _pika_values(options: Mapping[str, str]) -> dict[str, int]:
    """Return the supported options of pika's URLs, parsed and checked by pika."""
    obeyed = {
        name: value
        for name, value in options.items()
        if name in _PIKA_OPTIONS and name != "ssl_options"
    }
    try:
        parameters = pika.URLParameters(f"amqp://localhost/?{urlencode(obeyed)}")
    except Exception:  # noqa: BLE001 - it raises what it likes, and may repeat the value
        raise MalformedDSN(_unusable("pika cannot read one of its options")) from None
    heartbeat = parameters.heartbeat
    is_shorter = isinstance(heartbeat, int) and 0 < heartbeat < _HEARTBEAT_SECONDS
    return {
        "heartbeat": heartbeat if is_shorter else _HEARTBEAT_SECONDS,
        "channel_max": parameters.channel_max,
        "frame_max": parameters.frame_max,
    }


def _unusable(what: str) -> str:
    return (
        f"The DSN cannot be used: {what}. "
        "It looks like amqp://user:password@host:5672/vhost; nothing was contacted."
    )
