"""The functions of the demo's shop, for forms of their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final


def _send_email(to: str, template: str = "welcome") -> None:
    """Send a mail from a template."""


def _charge_card(order: int, amount: float, card_token: str) -> None:
    """Charge the card of an order."""


def _resize_image(image: str, width: int = 640) -> None:
    """Make a picture smaller."""


def _build_report(report: str, shop: int = 1, options: dict[str, Any] | None = None) -> None:
    """Build a report of one shop."""


FUNCTIONS: Final[dict[str, Callable[..., None]]] = {
    "shop.emails:send_email": _send_email,
    "shop.payments:charge_card": _charge_card,
    "shop.images:resize_image": _resize_image,
    "shop.reports:build_report": _build_report,
}


def signatures(function: str) -> inspect.Signature | None:
    """Return the signature of one of the demo's functions, by its name; else `None`.

    Stands for the registry that a worker's own application has, in
    ``tt.widgets.publish(cluster, signatures=signatures)``.
    """
    task = FUNCTIONS.get(function)
    return None if task is None else inspect.signature(task)
