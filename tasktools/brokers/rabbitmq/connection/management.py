"""A client of the management HTTP API, which is optional. Its figures are up to 8 s old."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.core import untrusted
from tasktools.core.errors import MalformedDSN
from tasktools.core.escaping import cut
from tasktools.core.routes import Binding, Exchange, Routes

T = TypeVar("T", list[Any], dict[str, Any])

STATISTICS_AGE: Final = 8.0
"""Seconds by which statistics may lag behind: measured 3 s on 4.3 and 8 s on 3.10."""
_RETRY_SECONDS: Final = 30.0
_ALL_SUBJECTS: Final = "*"
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_UNHEALTHY: Final = 503
_REDIRECTS: Final = range(300, 400)
_CHUNK_BYTES: Final = 2**16
_MAX_BODY_BYTES: Final = 2**28
_MAX_REASON_CHARS: Final = 200
_EFFECTIVE_POLICY: Final = "effective_policy_definition"
_POLICIES: Final = ("policy", "operator_policy", _EFFECTIVE_POLICY)
_EXCHANGE_COLUMNS: Final = "name,type,arguments,policy"
_BINDING_COLUMNS: Final = "source,destination,destination_type,routing_key"
_LAST_MINUTE: Final = {
    "lengths_age": "60",
    "lengths_incr": "5",
    "msg_rates_age": "60",
    "msg_rates_incr": "5",
}
_QUEUE_COLUMNS: Final = (
    "name",
    "type",
    "state",
    "node",
    "leader",
    "members",
    "online",
    "arguments",
    *_POLICIES,
    "messages_ready",
    "messages_unacknowledged",
    "consumers",
    "message_stats.publish_details.rate",
    "message_stats.ack_details.rate",
)


_ACTIVITY_COLUMNS: Final = (
    "auto_delete",
    "message_stats.deliver_get_details.rate",
    "message_stats.redeliver_details.rate",
)
_SAMPLE_COLUMNS: Final = (
    "messages_ready_details.samples",
    "messages_unacknowledged_details.samples",
    *(
        f"message_stats.{counter}_details.samples"
        for counter in (
            "publish",
            "ack",
            "deliver_get",
            "deliver_no_ack",
            "get_no_ack",
            "redeliver",
        )
    ),
)
_SEES_ALL: Final = frozenset({"monitoring", "administrator"})
"""The tags with which a user sees the connections of others, and nodes."""


class ManagementUnavailable(Exception):
    """The management API cannot be used; the message says why."""


class Management:
    """A client of one vhost's management API.

    It remembers for 30 s that there is no such API, or that one kind of query is refused.
    """

    def __init__(self, dsn: DSN, url: str | Literal[False] | None, timeout: float) -> None:
        self.url = None if url is False else _checked(url) if url else _default(dsn)
        self._vhost = quote(dsn.vhost, safe="")
        self._timeout = (min(timeout, 2.0), timeout)
        self._session = requests.Session()
        # Proxies and .netrc of the environment are not for the broker's credentials.
        self._session.trust_env = False
        # As bytes, since requests would encode text as latin-1.
        self._session.auth = HTTPBasicAuth(dsn.user.encode(), dsn.password.encode())
        if "cafile" in dsn.tls_files:
            self._session.verify = str(dsn.tls_files["cafile"])
        self._lock = threading.Lock()
        self._failures: dict[str, tuple[float, str]] = {}

    def queues(self) -> dict[str, Mapping[str, Any]]:
        """Return all queues of the vhost, by name. Raises `ManagementUnavailable`."""
        return self._with_policies(self._queues(_QUEUE_COLUMNS))

    def active_queues(self) -> dict[str, Mapping[str, Any]]:
        """Return all queues of the vhost, with their delivery rates. Raises
        `ManagementUnavailable`."""
        return self._with_policies(self._queues((*_QUEUE_COLUMNS, *_ACTIVITY_COLUMNS)))

    def sampled_queues(self) -> dict[str, Mapping[str, Any]]:
        """Return all queues of the vhost, with the samples of the last minute. Raises
        `ManagementUnavailable`.

        For 1,000 queues the list with samples takes the broker five times as long as the list
        without.
        """
        columns = (*_QUEUE_COLUMNS, *_ACTIVITY_COLUMNS, *_SAMPLE_COLUMNS)
        return self._with_policies(self._queues(columns, is_sampled=True))

    def _with_policies(self, listed: dict[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        if any(_EFFECTIVE_POLICY not in queue for queue in listed.values()):
            # Of a new queue, and where statistics are disabled, the list tells no policy.
            policies = self._queues(("name", *_POLICIES), disable_stats="true")
            return {name: _with_policy(queue, policies.get(name)) for name, queue in listed.items()}
        return listed

    def _queues(
        self,
        columns: Iterable[str],
        *,
        disable_stats: Literal["true", "false"] = "false",
        is_sampled: bool = False,
    ) -> dict[str, Mapping[str, Any]]:
        path = f"/api/queues/{self._vhost}"
        listed = self._get(
            path,
            list,
            is_sampled=is_sampled,
            columns=",".join(columns),
            disable_stats=disable_stats,
        )
        queues = {untrusted.text(untrusted.mapping(queue).get("name")): queue for queue in listed}
        if None in queues:
            raise self._no_management_api("queues")
        return {name: queue for name, queue in queues.items() if name is not None}

    def queue(self, name: str) -> Mapping[str, Any] | None:
        """Return one queue, or `None` when it does not exist. Raises `ManagementUnavailable`."""
        queue = self._get(self._path(name), dict, expected=(_OK, _NOT_FOUND))
        return None if "name" not in queue else queue

    def sampled_queue(self, name: str) -> Mapping[str, Any]:
        """Return the samples of one queue, with its owner if it is exclusive; empty if there is no
        such queue. Raises `ManagementUnavailable`."""
        # With the name, as RabbitMQ answers an array where it has none of the columns.
        columns = ",".join(("name", *_SAMPLE_COLUMNS, "owner_pid_details.name"))
        expected = (_OK, _NOT_FOUND)
        path = self._path(name)
        return self._get(path, dict, expected=expected, is_sampled=True, columns=columns)

    def alarms(self) -> list[tuple[str, str]]:
        """Return the resource and the node of each alarm that is on. Raises
        `ManagementUnavailable`."""
        health = self._get("/api/health/checks/alarms", dict, expected=(_OK, _UNHEALTHY))
        alarms = health.get("alarms", [])
        if health.get("status") not in ("ok", "failed") or not isinstance(alarms, list):
            raise self._no_management_api("health")
        entries = [untrusted.mapping(alarm) for alarm in alarms]
        return [(str(entry.get("resource")), str(entry.get("node"))) for entry in entries]

    def _path(self, queue: str) -> str:
        return f"/api/queues/{self._vhost}/{quote(queue, safe='')}"

    def policy(self, name: str, entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the effective policy of the queue *name*: policies and operator policies merged.
        *entry* is the queue's entry, as far as it was read; `None` if the API does not say. Raises
        `ManagementUnavailable`.

        An entry with statistics has the policy 5 s late, and not before its first statistics. Asked
        without statistics, 4.x returns the policy at once, and 3.10 shows when no policy matches
        the name.
        """
        exact = self._get(self._path(name), dict, expected=(_OK, _NOT_FOUND), disable_stats="true")
        for answer in (exact, entry):
            definition = answer.get("effective_policy_definition")
            if isinstance(definition, dict):
                return definition
        for kind in ("policies", "operator-policies"):
            for policy in self._get(f"/api/{kind}/{self._vhost}", list):
                try:
                    if re.search(policy["pattern"], name):
                        return None
                except (re.error, TypeError, KeyError):
                    return None
        return {}

    def cluster_id(self) -> str | None:
        """Return the random id that the cluster made for itself at its first start.

        `None` without the management API, and for a user without the tag `policymaker` or
        `administrator`, whose other questions are answered all the same.
        """
        try:
            path = "/api/global-parameters/internal_cluster_id"
            parameter = self._get(path, dict, is_optional=True)
        except ManagementUnavailable:
            return None
        return untrusted.text(untrusted.mapping(parameter).get("value"))

    def exchanges(self) -> list[Mapping[str, Any]]:
        """Return the exchanges of the vhost, with samples of publishing over the last minute.
        Raises `ManagementUnavailable`."""
        columns = f"{_EXCHANGE_COLUMNS},message_stats.publish_in_details.samples"
        return self._listing(f"exchanges/{self._vhost}", columns, is_sampled=True)

    def routes(self, exchanges: Iterable[object] | None = None) -> Routes:
        """Return the exchanges and bindings of the vhost. Raises `ManagementUnavailable`.

        *exchanges* are the exchanges if they were listed just now, else `None`.
        """
        if exchanges is None:
            exchanges = self._listing(f"exchanges/{self._vhost}", _EXCHANGE_COLUMNS)
        bindings = self._listing(f"bindings/{self._vhost}", _BINDING_COLUMNS)
        return Routes(tuple(map(_exchange, exchanges)), tuple(map(_binding, bindings)))

    def bound_to(self, exchange: str) -> list[Binding]:
        """Return the bindings of *exchange*. Raises `ManagementUnavailable`."""
        path = f"exchanges/{self._vhost}/{quote(exchange, safe='')}/bindings/source"
        return [_binding(entry) for entry in self._listing(path, _BINDING_COLUMNS)]

    def sees_all(self) -> bool:
        """Whether this user may see the consumers, channels and connections of others, and not just
        its own. Raises `ManagementUnavailable`."""
        tags = self._get("/api/whoami", dict, is_optional=True).get("tags")
        names = tags.split(",") if isinstance(tags, str) else untrusted.names(tags)
        return not _SEES_ALL.isdisjoint(name.strip() for name in names)

    def consumers(self) -> list[Mapping[str, Any]]:
        """Return the consumers in the vhost that this user may see. Raises
        `ManagementUnavailable`."""
        columns = "queue.name,prefetch_count,channel_details"
        return self._listing(f"consumers/{self._vhost}", columns)

    def channels(self) -> list[Mapping[str, Any]]:
        """Return the channels in the vhost that this user may see, with the samples of their
        unroutable messages. Raises `ManagementUnavailable`."""
        columns = (
            "name,connection_details.name,messages_unacknowledged,global_prefetch_count,"
            "message_stats.drop_unroutable_details.samples,"
            "message_stats.return_unroutable_details.samples"
        )
        return self._listing(f"vhosts/{self._vhost}/channels", columns, is_sampled=True)

    def connections(self) -> list[Mapping[str, Any]]:
        """Return the connections to the vhost that this user may see. Raises
        `ManagementUnavailable`."""
        columns = "name,user_provided_name,state"
        return self._listing(f"vhosts/{self._vhost}/connections", columns)

    def nodes(self) -> list[Mapping[str, Any]]:
        """Return the nodes of the cluster, with a sample a minute of the last hour. Raises
        `ManagementUnavailable`.

        The present figures take a query of their own: together with samples RabbitMQ returns the
        figures of the last sample, which are up to a minute old, and 0 in the first minute of a
        node.
        """
        columns = (
            "name,running,mem_alarm,disk_free_alarm,mem_used,mem_limit,disk_free,disk_free_limit,"
            "fd_used,fd_total,partitions"
        )
        figures = self._listing("nodes", columns)
        sampled = self._get(
            "/api/nodes",
            list,
            is_optional=True,
            columns=(
                "name,disk_free_details.samples,"
                "connection_created_details.samples,connection_closed_details.samples"
            ),
            node_stats_age="3600",
            node_stats_incr="60",
        )
        samples = {entry.get("name"): entry for entry in map(untrusted.mapping, sampled)}
        return [{**samples.get(entry.get("name"), {}), **entry} for entry in figures]

    def _listing(
        self, path: str, columns: str, *, is_sampled: bool = False
    ) -> list[Mapping[str, Any]]:
        listed = self._get(
            f"/api/{path}", list, is_optional=True, is_sampled=is_sampled, columns=columns
        )
        return [untrusted.mapping(entry) for entry in listed]

    def stopped_nodes(self) -> frozenset[str] | None:
        """Return the nodes of the cluster that do not run, or `None` when this user may not know
        (it takes the tag `monitoring`)."""
        try:
            nodes = self._get("/api/nodes", list, columns="name,running", is_optional=True)
        except ManagementUnavailable:
            return None
        entries = [untrusted.mapping(node) for node in nodes]
        return frozenset(str(node.get("name")) for node in entries if node.get("running") is False)

    def close(self) -> None:
        """Close the HTTP connections."""
        self._session.close()

    def _get(
        self,
        path: str,
        json_type: type[T],
        *,
        expected: Collection[int] = (_OK,),
        is_optional: bool = False,
        is_sampled: bool = False,
        **params: str,
    ) -> T:
        """Return the JSON (an object or an array) of a response with the status *expected*.

        After a refusal no query is sent for a while, unless the path *is_optional*: it may need
        another user tag than the rest. If *is_sampled*, statistics come with their samples of the
        last minute.
        """
        if self.url is None:
            raise ManagementUnavailable(
                "the management API was switched off (management_url=False)"
            )
        subject = path.split("/")[2]
        for failed_at, why in filter(None, map(self._failures.get, (_ALL_SUBJECTS, subject))):
            if time.monotonic() - failed_at < _RETRY_SECONDS:
                raise ManagementUnavailable(why)
        try:
            with self._lock:
                answer = self._session.get(
                    self.url + path,
                    params=params | (_LAST_MINUTE if is_sampled else {}),
                    timeout=self._timeout,
                    allow_redirects=False,
                    stream=True,
                )
                body = self._body(answer)
        except (requests.RequestException, ValueError) as error:
            why = f"no management API answers at {self.url} ({_short(error)})"
            raise self._unavailable(_ALL_SUBJECTS, why) from None
        if answer.status_code not in expected:
            refusal = self._refusal(answer.status_code, body)
            if is_optional:
                raise ManagementUnavailable(refusal)
            raise self._unavailable(subject, refusal)
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            raise self._no_management_api(subject) from None
        if not isinstance(content, json_type):
            raise self._no_management_api(subject)
        return content

    def _body(self, answer: requests.Response) -> bytes:
        """Return the body of a response. Raises if it is too long, or not complete within the time
        limit."""
        deadline = time.monotonic() + self._timeout[1]
        chunks, size = [], 0
        with answer:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                chunks.append(chunk)
                size += len(chunk)
                if time.monotonic() > deadline:
                    raise requests.Timeout
                if size > _MAX_BODY_BYTES:
                    raise requests.exceptions.ContentDecodingError
        return b"".join(chunks)

    def _refusal(self, status: int, body: bytes) -> str:
        if status in (_UNAUTHORIZED, _FORBIDDEN):
            why = "the user has no management tag (or no right)"
        elif status in _REDIRECTS:
            why = "the management API sends elsewhere, where the credentials are not sent along,"
        else:
            why = "the management API answers with an error"
        return f"{why} at {self.url}: HTTP {status}{_words(body)}"

    def _no_management_api(self, subject: str) -> ManagementUnavailable:
        return self._unavailable(subject, f"the server at {self.url} is no management API")

    def _unavailable(self, subject: str, why: str) -> ManagementUnavailable:
        self._failures[subject] = (time.monotonic(), why)
        return ManagementUnavailable(why)


def _with_policy(queue: Mapping[str, Any], policies: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return *queue* with its effective policy, taken from its entry in *policies*, the list
    without statistics. RabbitMQ 3.10 leaves the policy out of that list where a queue has none;
    every version does where the node of a queue is down, whatever policy it has."""
    if _EFFECTIVE_POLICY in queue or policies is None or queue.get("state") == "down":
        return queue
    has_one = policies.get("policy") or policies.get("operator_policy")
    definition = policies.get(_EFFECTIVE_POLICY, None if has_one else {})
    return queue if definition is None else {**queue, _EFFECTIVE_POLICY: definition}


def _exchange(content: object) -> Exchange:
    entry = untrusted.mapping(content)
    return Exchange(
        name=untrusted.text(entry.get("name")) or "",
        type=untrusted.text(entry.get("type")) or "",
        alternate=untrusted.text(
            untrusted.mapping(entry.get("arguments")).get("alternate-exchange")
        ),
        has_policy=bool(entry.get("policy")),
    )


def _binding(content: object) -> Binding:
    entry = untrusted.mapping(content)
    return Binding(
        source=untrusted.text(entry.get("source")) or "",
        destination=untrusted.text(entry.get("destination")) or "",
        key=untrusted.text(entry.get("routing_key")) or "",
        to_exchange=entry.get("destination_type") == "exchange",
    )


def _default(dsn: DSN) -> str:
    host = f"[{dsn.host}]" if ":" in dsn.host else dsn.host
    return f"https://{host}:15671" if dsn.tls else f"http://{host}:15672"


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_valid = is_valid and "@" not in parts.netloc and parts.port != 0
        requests.Request("GET", url).prepare()
    except (ValueError, requests.RequestException):
        is_valid = False
    if not is_valid:
        raise MalformedDSN(
            "The management URL looks like http://host:15672, without user and password "
            "(those of the DSN are used); nothing was contacted."
        )
    return url.rstrip("/")


def _words(body: bytes) -> str:
    """Return the server's reason for a refusal in brackets; "" if it gave none."""
    try:
        content = untrusted.mapping(json.loads(body))
    except (ValueError, RecursionError):
        return ""
    words = untrusted.text(content.get("reason")) or untrusted.text(content.get("error"))
    return "" if words is None else f" ({cut(words, _MAX_REASON_CHARS)})"


def _short(error: Exception) -> str:
    match error:
        case requests.Timeout():
            return "no answer in time"
        case requests.exceptions.SSLError():
            return "the TLS handshake failed"
        case requests.exceptions.ConnectionError():
            return "connection refused or host unknown"
        case _:
            return "its answer cannot be read"
