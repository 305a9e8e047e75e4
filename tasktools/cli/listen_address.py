"""The address of a command that serves something: its URL, its warnings, its error."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from tasktools.cli import render

C = TypeVar("C", bound=Callable[..., Any])


def with_address(port: int) -> Callable[[C], C]:
    """Add --port, by default *port*, and --address to a command."""
    add_port = click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        default=port,
        show_default=True,
        metavar="PORT",
        help="0: any that is free.",
    )
    add_address = click.option(
        "--address",
        default="127.0.0.1",
        show_default=True,
        metavar="ADDRESS",
        help="Where it can be reached: 0.0.0.0 lets everybody read it who can reach this machine.",
    )
    return lambda command: add_port(add_address(command))


@contextlib.contextmanager
def reporting_no_port(address: str, port: int) -> Iterator[None]:
    """Turn the error of a server that cannot listen into one sentence."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(
            render.harmless(
                f"Nothing can listen at {address}, port {port} ({error.strerror or error}); "
                "nothing was served. Give another --port, or the --address of this machine."
            )
        ) from error


def url_of(address: str, port: int) -> str:
    """Return the URL of a server."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/"


def warnings(address: str, readable: str) -> list[str]:
    """Return a warning if other machines can read what is served."""
    if is_loopback(address):
        return []
    return [f"note: everybody who can reach this address can {readable}; there is no password"]


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach *address*."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return address == "localhost"
