"""The price of a worker-hour as the user writes it, with any currency, and what workers cost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

_PRICE: Final = re.compile(r"([^\d.,+-]{0,12})(\d{1,12})(?:([.,])(\d{1,6}))?([^\d.,+-]{0,12})")
_THOUSANDS: Final = 3


@dataclass(frozen=True, slots=True)
class Price:
    """An amount, and how it is written."""

    amount: float
    before: str
    after: str
    separator: str
    """The decimal point or comma."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the price in *text*, as ``"0.12 €"`` or ``"$1,50"``.

        Raises `ValueError` for what is no price, or may be read in two ways.
        """
        match = _PRICE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no price of a worker-hour; it looks like 0.12 €.")
        before, whole, separator, part, after = match.groups()
        if separator == "," and len(part) == _THOUSANDS:
            raise ValueError(
                f"{text!r} may be read in two ways; write the price with a decimal point and "
                "without commas."
            )
        return cls(float(f"{whole}.{part or 0}"), before, after, separator or ".")

    def written(self, amount: float) -> str:
        """Return *amount* as the user writes the price.

        >>> Price.read("0,12 €").written(1234.5)
        '1234,50 €'
        """
        number = f"{amount:.2f}".replace(".", self.separator)
        return f"{self.before}{number}{self.after}"
