"""``tasktools board``: the live board as a page in the browser."""

from __future__ import annotations

import asyncio
import threading
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from tasktools.board.options import BoardOptions
from tasktools.board.starting_page import THEMES, Theme
from tasktools.cli import output, render
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.listen_address import reporting_no_port, url_of, warnings, with_address
from tasktools.cli.notebook import dsn_in_environment

_PORT: Final = 8866
_NO_VOILA: Final = (
    "The page is served by Voilà, which is not installed; nothing was served. Install it: "
    "pip install 'tasktools-ops[board]'."
)
_READABLE: Final = "see the cluster, with the arguments of its tasks"


@click.command()
@click.argument("names", metavar="[TOPIC]...", nargs=-1)
@click.option(
    "--theme",
    type=click.Choice(THEMES),
    default="light",
    show_default=True,
    help="Of a page whose address does not end in ?theme=light or ?theme=dark.",
)
@with_address(_PORT)
@click.option("--browser/--no-browser", default=True, help="Whether to open a browser on it.")
@with_access
def board(
    access: Access, names: tuple[str, ...], *, theme: Theme, port: int, address: str, browser: bool
) -> None:
    """Serve the live board as a page, until Ctrl-C, SIGTERM or SIGHUP.

    It changes nothing, with or without --read-only: users of the page cannot replay, discard or
    publish. Each page that is open has a connection of its own, and one more is kept ready. TOPIC
    names topics that no worker's events name, which AMQP alone cannot list. For health checks there
    is /health: each request of the page itself takes a kernel for up to 10 minutes.
    """
    if find_spec("voila") is None:
        raise click.ClickException(_NO_VOILA)
    from tasktools.board.server import BoardServer

    with access.cluster(names) as cluster:
        shown = render.harmless(cluster.broker.address)
    with reporting_no_port(address, port):
        server = BoardServer(address, port, theme)
    url = url_of(address, server.port)
    options = BoardOptions(
        folder=str(Path.cwd()),
        management_url=access.management_url,
        layout=access.layout,
        dialect=access.dialect,
        dead=access.dead,
        timeout=access.timeout,
        mask=access.mask,
        topics=names,
    )
    output.remark(warnings(address, _READABLE))
    output.remark([f"Serving {url} of {shown}; Ctrl-C ends it."])
    if browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    with dsn_in_environment(access.dsn), options.in_environment():
        asyncio.run(server.run())
