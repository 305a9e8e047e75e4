"""The options of every command that say how to reach the cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

import tasktools
from tasktools.cli import render, time_options
from tasktools.core.errors import TaskToolsError
from tasktools.core.layout import LAYOUTS

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.cluster.cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The options for connecting to the cluster. No representation shows the password."""

    dsn: str | None
    management_url: str | None
    layout: str | None
    dialect: tuple[str, ...]
    dead: str | None
    read_only: bool
    timeout: float
    mask: tuple[str, ...]

    def __repr__(self) -> str:
        return "Access(…)"

    @contextmanager
    def cluster(self, topics: tuple[str, ...] = ()) -> Iterator[Cluster]:
        """Connect; `spoken` turns errors into sentences."""
        management: str | Literal[False] | None = self.management_url
        if management == "off":
            management = False
        with (
            spoken(),
            tasktools.connect(
                self.dsn,
                management_url=management,
                layout=self.layout,
                dialect=self.dialect,
                dead=self.dead,
                read_only=self.read_only,
                timeout=self.timeout,
                mask=self.mask,
                topics=topics,
            ) as cluster,
        ):
            yield cluster


@contextmanager
def spoken() -> Iterator[None]:
    """Turn every error of tasktools into one sentence and exit code 1."""
    try:
        yield
    except TaskToolsError as error:
        raise click.ClickException(render.harmless(str(error))) from error


with_dsn = click.option(
    "--dsn",
    metavar="DSN",
    help="amqp://user:password@host:5672/vhost, amqps://…, demo://, or sqlite:///FILE of a "
    "recording; else BROKER_DSN, which keeps the password out of the process list.",
)


def with_access(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options with which a cluster is reached."""

    @with_dsn
    @click.option(
        "--management-url",
        metavar="URL",
        help="Where the management API is, when not at port 15672 of the same host; "
        "else BROKER_MANAGEMENT_URL. 'off' goes without.",
    )
    @click.option("--layout", type=click.Choice(list(LAYOUTS)), help="Instead of the one found.")
    @click.option(
        "--dialect",
        multiple=True,
        metavar="NAME",
        help="celery, dramatiq or plain (all other queues), instead of those found; any number.",
    )
    @click.option(
        "--dead",
        metavar="NAME",
        help="The name of dead-letter queues, like {topic}.dlq, where the broker does not show it.",
    )
    @click.option("--read-only", is_flag=True, help="Refuse everything that changes the cluster.")
    @click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="How long the broker may take to answer.",
    )
    @click.option(
        "--mask",
        multiple=True,
        metavar="NAME",
        help="Mask values under this key too, like iban; any number of them. Those of "
        "TASKTOOLS_MASK (iban,customer_name) always are.",
    )
    @functools.wraps(command)
    def reached(**options: Any) -> None:
        access = Access(**{name: options.pop(name) for name in Access.__dataclass_fields__})
        command(access, **options)

    return reached


with_at = click.option(
    "--at",
    callback=time_options.moment,
    metavar="MOMENT",
    help="Of a recording: as it was then, a time like 2026-11-24T12:00Z (UTC, unless it names "
    "another zone), or 2h before its end.",
)
with_json = click.option("--json", "as_json", is_flag=True, help="One JSON document, all columns.")
