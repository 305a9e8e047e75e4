"""Strategies for any JSON value, as hypothesis makes them up."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = st.text("abcä_", min_size=1, max_size=4)
"""Names of arguments, few and short, so that some are equal."""
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
"""Values that strangers may write: NaN, infinite, deep, with any text as a key."""
ARGUMENTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text().filter(lambda text: "•••" not in text),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)  # fmt: skip
"""Values that an edit may write: strict JSON without a masked secret."""
