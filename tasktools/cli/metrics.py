"""``tasktools metrics``: serve metrics of the cluster for Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

import tasktools
from tasktools.cli import output, render
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.end_signal import EndSignal, end_signals
from tasktools.cli.listen_address import reporting_no_port, url_of, warnings, with_address
from tasktools.cli.time_options import span

if TYPE_CHECKING:  # imported when it is served: prometheus_client takes 0.2 s
    from tasktools.metrics.exporter import Exporter
    from tasktools.metrics.needed_workers import Needs

_POLL_SECONDS: Final = 0.2
_PORT: Final = 9105
_READABLE: Final = "read the names of topics and workers"


@click.command()
@click.argument("names", metavar="[TOPIC]...", nargs=-1)
@with_address(_PORT)
@click.option(
    "--every",
    default="5s",
    show_default=True,
    callback=span,
    metavar="SPAN",
    help="How often the cluster is looked at; a scrape gets the values of the last look.",
)
@click.option(
    "--recorded",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A recording of the cluster: serve the needed workers, too, as `tasktools capacity` says.",
)
@click.option(
    "--wait",
    default="30s",
    show_default=True,
    callback=span,
    metavar="SPAN",
    help="With --recorded: how long tasks may wait for their first try.",
)
@with_access
def metrics(
    access: Access,
    names: tuple[str, ...],
    *,
    port: int,
    address: str,
    every: float,
    recorded: Path | None,
    wait: float,
) -> None:
    """Serve metrics of the cluster for Prometheus, until Ctrl-C, SIGTERM or SIGHUP.

    Changes nothing, and looks into no queue. TOPIC names topics that no worker's events name, which
    AMQP alone cannot list: for example topics to be scaled up from no worker at all.
    """
    with access.cluster(names) as cluster, end_signals() as end_signal:
        if cluster.is_recorded:
            raise click.ClickException(
                "Metrics are of a live cluster, and this is a recording; nothing was served. Give "
                "--dsn amqp://… instead; tasktools report shows a recording."
            )
        from tasktools.metrics.exporter import Exporter, served

        with (
            _needs(recorded, wait, access.mask) as needs,
            Exporter(
                cluster,
                every=every,
                timeout=access.timeout,
                version=tasktools.__version__,
                needs=needs,
            ) as exporter,
            reporting_no_port(address, port),
            served(exporter, address, port) as bound,
        ):
            of = render.harmless(cluster.broker.address)
            output.remark(warnings(address, _READABLE))
            url = url_of(address, bound)
            output.remark([f"Serving {url}metrics of {of}; Ctrl-C ends it."])
            _until_ended(exporter, needs, end_signal)


@contextlib.contextmanager
def _needs(recorded: Path | None, wait: float, mask: tuple[str, ...]) -> Iterator[Needs | None]:
    """Compute the needed workers by a recording, if there is one."""
    if recorded is None:
        yield None
        return
    from tasktools.metrics.needed_workers import Needs

    dsn = f"sqlite:///{recorded.absolute()}"
    with tasktools.connect(dsn, mask=mask) as history, Needs(history, wait_below=wait) as needs:
        yield needs


def _until_ended(exporter: Exporter, needs: Needs | None, end_signal: EndSignal) -> None:
    """Wait for a signal; meanwhile print errors of the broker and the recording."""
    last_shown: str | None = None
    while not end_signal.wait(_POLL_SECONDS):
        problem = exporter.problem or (None if needs is None else needs.problem)
        if problem != last_shown:
            last_shown = problem
            output.remark([render.harmless(last_shown or "It continues.")])
