"""A private RabbitMQ node for tests: on free loopback ports, and gone afterwards."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Final, Self
from urllib.parse import quote

_PORTS: Final = range(10_000, 32_000)
_STARTS_WITHIN: Final = 90.0
_STOPS_WITHIN: Final = 30.0
_PLUGIN: Final = "rabbitmq_management"
_ERLANG_ARGUMENTS: Final = (
    "-kernel inet_dist_use_interface {127,0,0,1} "
    "+sbwt none +sbwtdcpu none +sbwtdio none"  # idle schedulers sleep at once, they do not spin
)
# Its input ends with the process that starts the node, also with one that is killed.
_END_WITH_PARENT: Final = (
    'exec 3<&0; (cat <&3 >/dev/null; kill -KILL 0) & exec "$@" </dev/null 3<&-'
)
_NOT_INSTALLED: Final = (
    "No rabbitmq-server is installed; no node was started. Install the package rabbitmq-server "
    "(apt-get install rabbitmq-server, brew install rabbitmq, or conda-forge's)."
)


class RabbitMQNode:
    """A node of an installed rabbitmq-server, as a context manager.

    *config* are lines of `rabbitmq.conf`. *tls* are the paths of CA, certificate and key; the
    node then also listens at `tls_dsn`. *root* is a system root (a chroot) in which the server
    is installed, for versions other than the system's; it takes root rights. *plugins* are enabled
    beside the management. *cookie* is the Erlang cookie that nodes of one cluster share
    (`RabbitMQCluster`); without it the node makes one of its own. Data and logs are in `folder`;
    they are removed when the node was stopped without an error, else kept.

    ::

        with RabbitMQNode() as node:
            cluster = tasktools.connect(node.dsn, management_url=node.management_url)
    """

    def __init__(
        self,
        *,
        config: Iterable[str] = (),
        tls: tuple[Path, Path, Path] | None = None,
        root: Path | None = None,
        plugins: Iterable[str] = (),
        name: str | None = None,
        cookie: str | None = None,
    ) -> None:
        self._root = root
        self._plugins = (_PLUGIN, *plugins)
        self._binaries = _find_binaries(root)
        self._process: subprocess.Popen[bytes] | None = None
        self.name = f"{name or f'tasktools-{uuid.uuid4().hex[:8]}'}@localhost"
        self.port, self._tls_port, management_port, self._dist_port = free_ports(4)
        self.dsn = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.tls_dsn = f"amqps://guest:guest@127.0.0.1:{self._tls_port}/"
        self.management_url = f"http://127.0.0.1:{management_port}"
        temporary = None if root is None else root / "tmp"
        self.folder = Path(tempfile.mkdtemp(prefix="tasktools-node-", dir=temporary))
        self._write_config(management_port, tls, config)
        if cookie is not None:
            self._write_cookie(cookie)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, failed: type[BaseException] | None, *_exc: object) -> None:
        if failed is None:  # nobody reads its data again: a stop in good order takes RabbitMQ 6 s
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.stop()

    def _write_config(
        self, management_port: int, tls: tuple[Path, Path, Path] | None, more: Iterable[str]
    ) -> None:
        lines = [
            f"listeners.tcp.default = 127.0.0.1:{self.port}",
            "management.tcp.ip = 127.0.0.1",
            f"management.tcp.port = {management_port}",
            "disk_free_limit.absolute = 50MB",
            *more,
        ]
        if tls is not None:
            lines.append(f"listeners.ssl.default = 127.0.0.1:{self._tls_port}")
            for option, path in zip(("cacertfile", "certfile", "keyfile"), tls, strict=True):
                lines.append(f"ssl_options.{option} = {path}")
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].")

    def _write_cookie(self, cookie: str) -> None:
        file = self.folder / ".erlang.cookie"
        file.write_text(cookie)
        file.chmod(0o400)  # Erlang refuses one that others can read

    # --- lifecycle ------------------------------------------------------------------

    def start(self) -> None:
        """Start the node and wait until it answers.

        Raises `RuntimeError`, which names the folder of its logs, if it does not.
        """
        with (self.folder / "out").open("ab") as out:
            self._process = start_with_parent(
                self._command("rabbitmq-server"), self._environment(), out
            )
        deadline = time.monotonic() + _STARTS_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise RuntimeError(f"The node {self.name} did not start; see {self.folder}.")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            self.request("GET", "/api/overview")
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except (OSError, http.client.HTTPException):
            return False

    def stop(self) -> None:
        """Stop the node with SIGTERM; its data and ports stay, so that it can be started again."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOPS_WITHIN)
        self._end()

    def restart(self) -> None:
        """Stop the node and start it again, with the same data and ports."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill the node at once, as a power cut would."""
        self._end()

    def _end(self) -> None:
        """Kill the remaining processes of the node's process group."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_STOPS_WITHIN)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    # --- administration -------------------------------------------------------------

    @property
    def log(self) -> str:
        """The text of the node's log."""
        return (self.folder / "log" / "node.log").read_text(errors="replace")

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against the node and return what it prints."""
        done = subprocess.run(
            self._command("rabbitmqctl", *arguments),
            env=self._environment(),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send a request to the management API as guest; return the JSON of the response."""
        asked = urllib.request.Request(  # noqa: S310 - our own node, over http
            self.management_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None

    def alarms(self) -> set[str]:
        """Return the resources for which the node blocks publishers: ``memory``, ``disk space``.

        The node itself is asked, not its statistics, and without a `ctl`, which is a process that
        takes half a second of processor time.
        """
        try:
            self.request("GET", "/api/health/checks/local-alarms")
        except urllib.error.HTTPError as answer:
            with answer:
                if answer.code != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                return {alarm["resource"] for alarm in json.load(answer)["alarms"]}
        return set()

    def add_vhost(self, name: str) -> str:
        """Create a vhost, open to guest; returns its DSN."""
        self.request("PUT", f"/api/vhosts/{quote(name, safe='')}")
        self.allow("guest", name)
        return self.dsn + quote(name, safe="")

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost with all that is in it."""
        self.request("DELETE", f"/api/vhosts/{quote(name, safe='')}")

    def add_user(self, name: str, password: str, *, tags: str = "") -> None:
        """Create a user without any permissions; *tags* such as ``management``."""
        self.request("PUT", f"/api/users/{quote(name)}", {"password": password, "tags": tags})

    def allow(
        self, user: str, vhost: str, *, configure: str = ".*", write: str = ".*", read: str = ".*"
    ) -> None:
        """Give a user permissions (regular expressions) on a vhost."""
        rights = {"configure": configure, "write": write, "read": read}
        path = f"/api/permissions/{quote(vhost, safe='')}/{quote(user)}"
        self.request("PUT", path, rights)

    # --- how to run the binaries ----------------------------------------------------

    def _command(self, binary: str, *arguments: str) -> list[str]:
        inside = str(self._binaries / binary)
        if self._root is None:
            return [inside, *arguments]
        return [
            "chroot",
            str(self._root),
            "/" + str(Path(inside).relative_to(self._root)),
            *arguments,
        ]

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        if self._root is not None:
            folder = "/" + str(self.folder.relative_to(self._root))
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": folder,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_FEATURE_FLAGS_FILE": f"{folder}/feature_flags",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": f"{folder}/log/node.log",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_PLUGINS_EXPAND_DIR": f"{folder}/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
        }


def start_with_parent(
    command: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start *command* as a process group that is killed when this process ends, even by ``kill
    -9``, or closes the input of the returned process."""
    return subprocess.Popen(
        ["sh", "-c", _END_WITH_PARENT, "sh", *command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _find_binaries(root: Path | None) -> Path:
    """Return the folder of the server's own scripts.

    Debian's /usr/sbin/rabbitmq-server changes to its own user and wants the system's node;
    the scripts below /usr/lib do neither.
    """
    base = root or Path("/")
    for folder in sorted(base.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"), reverse=True):
        return folder
    server = shutil.which("rabbitmq-server") if root is None else None
    if server is None:
        raise RuntimeError(_NOT_INSTALLED)
    return Path(server).resolve().parent


def free_ports(count: int) -> list[int]:
    """Return ports without a listener, from outside of the range that systems assign by themselves:
    a stopped node keeps its ports, and nobody else gets them meanwhile."""
    ports: list[int] = []
    while len(ports) < count:
        port = secrets.choice(_PORTS)
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            ports += [port] if port not in ports else []
    return ports
