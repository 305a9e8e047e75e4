"""The page of measured results about capacity, benchmarks/CAPACITY.md: a section a measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "benchmarks" / "CAPACITY.md"
_TITLE: Final = "# Capacity, measured\n\nWritten by `make capacity`.\n"


def write_section(title: str, text: str, page: Path = PAGE) -> None:
    """Write *text* as the section *title* of the *page*, in the place of an earlier one."""
    before = page.read_text(encoding="utf-8") if page.exists() else _TITLE
    head, *sections = before.split("\n## ")
    bodies = dict(section.split("\n", 1) for section in sections)
    bodies[title] = f"\n{text.strip()}\n"
    parts = [head.rstrip("\n"), *(f"## {name}\n{body.rstrip()}" for name, body in bodies.items())]
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
