"""A private RabbitMQ cluster of several nodes for tests: on loopback, and gone afterwards."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from tasktools.testing.eventually import eventually
from tasktools.testing.node import RabbitMQNode


class RabbitMQCluster:
    """Several nodes (`RabbitMQNode`) that form one cluster, as a context manager.

    *size* nodes are started at once and find each other. *config* are lines of `rabbitmq.conf`
    for each of them; *root* is as for `RabbitMQNode`. Each of `nodes` can be stopped, killed and
    started again; on RabbitMQ 4 the cluster accepts changes as long as most of them run.

    ::

        with RabbitMQCluster(3) as nodes:
            cluster = tasktools.connect(nodes[0].dsn, management_url=nodes[0].management_url)
            nodes[1].kill()
    """

    def __init__(self, size: int, *, config: Iterable[str] = (), root: Path | None = None) -> None:
        prefix = f"tasktools-{secrets.token_hex(4)}"
        names = [f"{prefix}-{number}" for number in range(1, size + 1)]
        lines = [
            "cluster_formation.peer_discovery_backend = classic_config",
            *(
                f"cluster_formation.classic_config.nodes.{number} = {name}@localhost"
                for number, name in enumerate(names, 1)
            ),
            *config,
        ]
        cookie = secrets.token_hex(16)
        self.nodes = [
            RabbitMQNode(config=lines, root=root, name=name, cookie=cookie) for name in names
        ]

    def __getitem__(self, index: int) -> RabbitMQNode:
        return self.nodes[index]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as started:
            with ThreadPoolExecutor(len(self.nodes)) as starting:
                list(starting.map(started.enter_context, self.nodes))
            eventually(self._all_run_together)
            self._stack = started.pop_all()
        return self

    def _all_run_together(self) -> bool:
        """Return True once every node lists every node as running."""
        listed = (node.request("GET", "/api/nodes?columns=running") for node in self.nodes)
        return all(
            len(entries) == len(self.nodes) and all(entry["running"] for entry in entries)
            for entries in listed
        )

    def __exit__(self, *error: object) -> None:
        # The data are thrown away, so no node has to wait for the others to leave in good order.
        for node in self.nodes:
            node.kill()
        self._stack.__exit__(*error)  # type: ignore[arg-type]
