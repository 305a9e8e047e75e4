"""The management HTTP API: enriches, never required. Its figures are up to 8 s old."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import requests

from tasktools.brokers.rabbitmq.dsn import DSN
from tasktools.core.errors import MalformedDSN

STATISTICS_AGE: Final = 8.0
"""Seconds by which statistics may lag behind: measured 3 s on 4.3 and 8 s on 3.10."""
_RETRY_AFTER: Final = 30.0
_COLUMNS: Final = (
    "name",
    "type",
    "arguments",
    "effective_policy_definition",
    "messages_ready",
    "messages_unacknowledged",
    "consumers",
    "message_stats.publish_details.rate",
    "message_stats.ack_details.rate",
)


class ManagementUnavailable(Exception):
    """Why the management API cannot be used, in words for a person."""


class Management:
    """A client of one vhost's management API; remembers for 30 s that there is none."""

    def __init__(self, dsn: DSN, url: str | Literal[False] | None, timeout: float) -> None:
        self.url = None if url is False else _checked(url) if url else _default(dsn)
        self._vhost = quote(dsn.vhost, safe="")
        self._timeout = (min(timeout, 2.0), timeout)
        self._session = requests.Session()
        self._session.auth = (dsn.user, dsn.password)
        if "cafile" in dsn.tls_files:
            self._session.verify = str(dsn.tls_files["cafile"])
        self._lock = threading.Lock()
        self._failure: tuple[float, str] | None = None

    def queues(self) -> dict[str, Mapping[str, Any]]:
        """Return all queues of the vhost, by name. Raises `ManagementUnavailable`."""
        listed = self._get(f"/api/queues/{self._vhost}", columns=",".join(_COLUMNS))
        try:
            return {queue["name"]: queue for queue in listed}
        except (TypeError, KeyError):
            raise self._unavailable(f"what answers at {self.url} is no management API") from None

    def queue(self, name: str) -> Mapping[str, Any] | None:
        """Return one queue, or `None` when it does not exist. Raises `ManagementUnavailable`."""
        found: Mapping[str, Any] | None = self._get(
            f"/api/queues/{self._vhost}/{quote(name, safe='')}", missing_is_none=True
        )
        return found

    def close(self) -> None:
        """Let go of the HTTP connections."""
        self._session.close()

    def _get(self, path: str, *, missing_is_none: bool = False, **params: str) -> Any:
        if self.url is None:
            raise ManagementUnavailable(
                "the management API was switched off (management_url=False)"
            )
        if self._failure is not None and time.monotonic() - self._failure[0] < _RETRY_AFTER:
            raise ManagementUnavailable(self._failure[1])
        try:
            with self._lock:
                answer = self._session.get(self.url + path, params=params, timeout=self._timeout)
        except requests.RequestException as error:
            why = f"no management API answers at {self.url} ({_short(error)})"
            raise self._unavailable(why) from None
        if answer.status_code == requests.codes.ok:
            self._failure = None
            try:
                return answer.json()
            except ValueError:
                why = f"what answers at {self.url} is no management API"
                raise self._unavailable(why) from None
        if answer.status_code == requests.codes.not_found and missing_is_none:
            return None
        raise self._unavailable(self._refusal(answer.status_code))

    def _refusal(self, status: int) -> str:
        if status in (requests.codes.unauthorized, requests.codes.forbidden):
            return f"the user has no management tag (or no right) at {self.url}: HTTP {status}"
        return f"the management API at {self.url} answers HTTP {status}"

    def _unavailable(self, why: str) -> ManagementUnavailable:
        self._failure = (time.monotonic(), why)
        return ManagementUnavailable(why)


def _default(dsn: DSN) -> str:
    host = f"[{dsn.host}]" if ":" in dsn.host else dsn.host
    return f"https://{host}:15671" if dsn.tls else f"http://{host}:15672"


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise MalformedDSN(
            "The management URL looks like http://host:15672, without user and password "
            "(those of the DSN are used); nothing was contacted."
        )
    return url.rstrip("/")


def _short(error: requests.RequestException) -> str:
    match error:
        case requests.Timeout():
            return "no answer in time"
        case requests.exceptions.SSLError():
            return "the TLS handshake failed"
        case _:
            return "connection refused or host unknown"
