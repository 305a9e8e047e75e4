"""The pages of docs/: each is reachable; each block is run, tested, or says that it is not."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Final

import click
import pytest
import yaml

import tasktools as tt
from tasktools.cli import main
from tests.docs_pages import DOCS, Block, blocks, check_usage, pages, words_of

ROOT: Final = DOCS.parent
BLOCKS: Final = [block for page in pages() for block in blocks(page)]
BY_ANOTHER_TEST: Final = {"autoscaling.md": "yaml"}  # tests/unit/metrics/test_autoscaling_docs.py
KINDS: Final = {"{shell}", "{tested}", "{not-run}", "{code-cell}", "{eval-rst}", "{toctree}"}
_FILE: Final = re.compile(r"[\w/]+\.(?:db|ipynb|json|jsonl)")


def toctree(page: Path) -> list[Path]:
    """Return the pages that *page* leads to."""
    return [
        (page.parent / line).resolve()
        for block in blocks(page)
        if block.kind == "{toctree}"
        for line in block.text.splitlines()
        if line.strip()
    ]


def command_lines() -> list[tuple[str, list[str]]]:
    """Return the arguments of each call of tasktools in the docs, with its page."""
    lines = []
    for block in BLOCKS:
        if block.kind in {"{shell}", "{tested}", "{not-run}"}:
            for command in block.commands:
                words = words_of(command)
                if words[:1] == ["tasktools"]:
                    lines.append((block.page, words[1:]))
    return lines


def test_each_page_and_notebook_is_in_a_table_of_contents() -> None:
    reached, left = set[Path](), [(DOCS / "index").resolve()]
    while left:
        page = left.pop()
        if page not in reached:
            reached.add(page)
            source = page.with_name(f"{page.name}.md")
            left += toctree(source) if source.is_file() else []
    written = {page.with_suffix("").resolve() for page in pages()}
    notebooks = {
        (DOCS / "tutorials" / notebook.stem).resolve()
        for notebook in (ROOT / "notebooks").glob("*.ipynb")
    }
    assert reached == written | notebooks


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.kind}")
def test_a_block_is_run_or_tested_or_says_that_it_is_not(block: Block) -> None:
    if block.kind != BY_ANOTHER_TEST.get(block.page):
        assert block.kind in KINDS
    if block.kind == "{tested}":
        assert (ROOT / block.options["by"]).is_file()
    if block.kind == "{not-run}":
        assert block.options["why"]


@pytest.mark.parametrize(("page", "words"), command_lines())
def test_a_call_of_tasktools_has_arguments_that_it_takes(
    page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for word in words:
        if _FILE.fullmatch(word):  # which an earlier command makes
            file = tmp_path / word
            file.parent.mkdir(exist_ok=True)
            file.touch()
    with contextlib.suppress(click.exceptions.Exit):  # --help
        check_usage(main, words)


def test_the_services_of_the_compose_file_call_tasktools_rightly() -> None:
    page = DOCS / "how-to" / "docker-compose.md"
    (compose,) = (yaml.safe_load(block.text) for block in blocks(page) if block.argument == "yaml")
    calls = [service["command"] for service in compose["services"].values() if "build" in service]
    assert len(calls) == 3
    for words in calls:
        check_usage(main, words)


def test_the_image_calls_tasktools_rightly_and_as_a_user_without_rights() -> None:
    lines = (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines()
    (command,) = (line.removeprefix("CMD ") for line in lines if line.startswith("CMD "))
    check_usage(main, json.loads(command))
    assert lines.index("USER ops") < lines.index(f"CMD {command}")
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    assert all((ROOT / name).exists() for names in copied for name in names)


def test_the_page_of_settings_has_each_variable_that_is_read_and_no_other() -> None:
    package = ROOT / "tasktools"
    code = "\n".join(
        file.read_text(encoding="utf-8")
        for file in package.rglob("*.py")
        if "testing" not in file.relative_to(package).parts
    )
    read = set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", code))
    page = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)) == read


def test_the_reference_has_every_public_name() -> None:
    page = (DOCS / "reference" / "api" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   ([\w.]+)$", page, re.MULTILINE))
    errors = {
        name
        for name in tt.__all__
        if isinstance(value := getattr(tt, name), type) and issubclass(value, tt.TaskToolsError)
    }
    modules = {"capacity", "widgets"}
    assert set(tt.__all__) - errors - modules <= listed
    assert {f"capacity.{name}" for name in tt.capacity.__all__} <= listed
    assert set(tt.widgets.figures.__all__) <= listed
    functions = {name for name in tt.widgets.__all__ if name.islower()} - {"figures"}
    assert {f"widgets.{name}" for name in functions} <= listed
