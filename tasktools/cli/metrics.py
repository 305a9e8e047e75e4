"""``tasktools metrics``: serve Prometheus what the cluster does now."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

import tasktools
from tasktools.cli import output, render
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.end_signal import EndSignal, end_signals
from tasktools.cli.time_options import span

if TYPE_CHECKING:  # imported when it is served: prometheus_client takes 0.2 s
    from tasktools.metrics.exporter import Exporter

_POLL_SECONDS: Final = 0.2
_PORT: Final = 9105


@click.command()
@click.argument("names", metavar="[TOPIC]...", nargs=-1)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=_PORT,
    show_default=True,
    metavar="PORT",
    help="0: any that is free.",
)
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Where it can be reached: 0.0.0.0 lets everybody read it who can reach this machine.",
)
@click.option(
    "--every",
    default="5s",
    show_default=True,
    callback=span,
    metavar="SPAN",
    help="How often the cluster is looked at; a scrape gets the values of the last look.",
)
@with_access
def metrics(
    access: Access, names: tuple[str, ...], *, port: int, address: str, every: float
) -> None:
    """Serve metrics of the cluster for Prometheus, until Ctrl-C, SIGTERM or SIGHUP.

    Changes nothing, and looks into no queue. TOPIC names topics that no worker speaks of, which
    AMQP alone cannot list: those that are to be scaled up from no worker at all.
    """
    with access.cluster(names) as cluster, end_signals() as end_signal:
        if cluster.is_recorded:
            raise click.ClickException(
                "Metrics are of a live cluster, and this is a recording; nothing was served. Give "
                "--dsn amqp://… instead; tasktools report shows a recording."
            )
        from tasktools.metrics.exporter import Exporter, served

        exporter = Exporter(
            cluster, every=every, timeout=access.timeout, version=tasktools.__version__
        )
        with exporter, _reporting_no_port(address, port), served(exporter, address, port) as bound:
            of = render.harmless(cluster.broker.address)
            output.remark(_warnings(address))
            output.remark([f"Serving http://{address}:{bound}/metrics of {of}; Ctrl-C ends it."])
            _until_ended(exporter, end_signal)


@contextlib.contextmanager
def _reporting_no_port(address: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.ClickException(
            render.harmless(
                f"Nothing can listen at {address}, port {port} ({error.strerror or error}); "
                "nothing was served. Give another --port, or the --address of this machine."
            )
        ) from error


def _warnings(address: str) -> list[str]:
    """Return a warning if others than this machine can read what is served."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(address).is_loopback:
            return []
    if address == "localhost":
        return []
    return [
        "note: everybody who can reach this address can read the names of topics and workers; "
        "there is no password"
    ]


def _until_ended(exporter: Exporter, end_signal: EndSignal) -> None:
    """Wait for a signal; print meanwhile why the broker could not be asked."""
    last_shown: str | None = None
    while not end_signal.wait(_POLL_SECONDS):
        if exporter.problem != last_shown:
            last_shown = exporter.problem
            output.remark([render.harmless(last_shown or "It goes on.")])
