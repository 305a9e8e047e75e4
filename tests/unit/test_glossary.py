"""The glossary of private words (`docs/glossary.md`)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!word |---)([^|]+) \| ([^|]+) \|$", GLOSSARY, re.MULTILINE)
WORDS = [word for words, _ in ROWS for word in words.split(", ")]
PACKAGE = "\n".join(
    file.read_text(encoding="utf-8") for file in sorted((ROOT / "tasktools").rglob("*.py"))
)


@pytest.mark.parametrize("word", WORDS)
def test_each_word_is_used_in_the_package(word: str) -> None:
    """A word that the code has lost goes from the glossary as well."""
    pattern = r"(?<![a-z])" + r"[\s_-]+".join(map(re.escape, word.split())) + r"(?:s|es)?(?![a-z])"
    assert re.search(pattern, PACKAGE, re.IGNORECASE), f"{word!r} occurs nowhere in tasktools/"


def test_no_word_is_explained_twice() -> None:
    assert len(WORDS) >= 30
    assert sorted(set(WORDS)) == sorted(WORDS)
    assert all(meaning.endswith(".") for _, meaning in ROWS)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_glossary_is_linked(page: str) -> None:
    assert "(docs/glossary.md)" in (ROOT / page).read_text(encoding="utf-8")
