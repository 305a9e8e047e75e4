"""The masking of secrets in frames, repeated for a file that is passed on."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pandas as pd

from tasktools.core.escaping import exact
from tasktools.core.plans import RECORDING_DSN
from tasktools.core.redaction import Redaction


class Mask:
    """The rules of *redaction*, also where the cluster itself shows secrets.

    The path of a *recording* is cut to its file name, since folders may name a person.
    """

    def __init__(self, redaction: Redaction, recording: str) -> None:
        self._redaction = Redaction(redaction.rules)
        folder = PurePath(recording.removeprefix(RECORDING_DSN)).parent
        self._folder = f"{RECORDING_DSN}{folder}/" if recording.startswith(RECORDING_DSN) else None

    def text(self, text: str) -> str:
        """Return *text* with the secrets in it masked."""
        masked = self._redaction.text(exact(text))
        return masked if self._folder is None else masked.replace(self._folder, RECORDING_DSN)

    def frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return *frame* with the secrets in its texts and objects masked, and without attrs."""
        frame = frame.reset_index(drop=True)
        columns = {str(name): self._column(values) for name, values in frame.items()}
        return pd.DataFrame(columns, columns=frame.columns)

    def _column(self, values: pd.Series[Any]) -> pd.Series[Any]:
        if values.dtype == object:
            masked = [self._redaction.value(value) for value in values]
            return pd.Series(masked, index=values.index, dtype=object)
        if not pd.api.types.is_string_dtype(values.dtype):
            return values
        places, names = values.factorize(use_na_sentinel=False)
        texts = [self.text(name) if isinstance(name, str) else None for name in names]
        return pd.Series([texts[place] for place in places], index=values.index, dtype="string")
