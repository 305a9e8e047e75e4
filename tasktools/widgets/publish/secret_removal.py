"""Removal of secrets from the publish widget after an order: a saved notebook stores widgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import pandas as pd

from tasktools.core.redaction import Redaction
from tasktools.core.secret_text import MARK
from tasktools.widgets.publish import forms
from tasktools.widgets.publish.forms import Entered, Field

_WITH_VALUES: Final = ("args", "kwargs", "headers")


def has_secrets(frame: pd.DataFrame, redaction: Redaction) -> bool:
    """Whether arguments or headers of a task in *frame* contain a secret."""
    columns = [frame[name] for name in _WITH_VALUES if name in frame.columns]
    return any(MARK in f"{redaction.value(value)}" for column in columns for value in column)


def without_secrets(
    entered: Mapping[str, Entered], fields: Iterable[Field], redaction: Redaction
) -> dict[str, Entered]:
    """Return *entered*, the values of *fields*, with a mark instead of each secret."""
    by_name = {field.name: field for field in fields}
    return {
        name: value
        if isinstance(value, bool) or name not in by_name or value == by_name[name].default
        else forms.masked(name, by_name[name].kind, value, redaction)
        for name, value in entered.items()
    }


def forgotten(values: Mapping[str, Entered]) -> tuple[str, ...]:
    """Return a sentence for each of *values* from which a secret was removed."""
    return tuple(
        f"{name} holds {MARK}, which stands for a secret (one that was typed in is forgotten once "
        "it is sent); type it again to publish another task."
        for name, value in values.items()
        if isinstance(value, str) and MARK in value
    )
