"""Vhosts on a private node, each for one test or one module."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tasktools.testing import RabbitMQNode


@dataclass(frozen=True)
class Vhost:
    """A vhost on a private node."""

    name: str
    dsn: str
    management_url: str


@contextmanager
def fresh_vhost(node: RabbitMQNode) -> Iterator[Vhost]:
    """Give a new vhost, which is deleted at the end."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    dsn = node.add_vhost(name)
    yield Vhost(name, dsn, node.management_url)
    node.delete_vhost(name)
