"""README.md: its commands and its code are tried on the demo, and its links lead somewhere."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import ipywidgets
import pytest
from click.testing import CliRunner

import tasktools as tt
from tasktools.cli import main
from tests.docs_pages import Block, blocks, check_usage, words_of

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
INCIDENT: Final = "demo://?incident=bad_deploy"
_PRODUCTION: Final = '"amqps://ops:…@rabbit:5671/prod"'
_LINK: Final = re.compile(r"\]\(([^)#]+)")


def of_kind(kind: str) -> list[Block]:
    """Return the blocks of README that have this language."""
    return [block for block in blocks(README) if block.kind == kind]


class _AnyNumber(doctest.OutputChecker):
    """Takes one number for another: the demo goes on while one looks."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        want, got = (re.sub(r"\d+", "N", text) for text in (want, got))
        return super().check_output(want, got, optionflags)


def test_what_is_shown_on_the_demo_is_what_it_says() -> None:
    (session,) = of_kind("pycon")
    test = doctest.DocTestParser().get_doctest(session.text + "\n", {}, "README", None, 0)
    runner = doctest.DocTestRunner(checker=_AnyNumber())
    runner.run(test, clear_globs=False)
    test.globs["cluster"].close()
    assert runner.summarize(verbose=False).failed == 0
    assert test.examples


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    """The names that the code of a block defines; its cluster and widgets end with the test."""
    made: dict[str, Any] = {"tt": tt}
    yield made
    ipywidgets.Widget.close_all()
    made["cluster"].close()


@pytest.mark.parametrize("block", of_kind("python"), ids=lambda block: block.text.split("(")[0])
def test_the_code_runs_on_the_demo(
    block: Block, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_DSN", INCIDENT)
    exec(block.text.replace(_PRODUCTION, f'"{INCIDENT}"'), names)  # noqa: S102 - it is ours
    assert names["cluster"].topics().notna().any(axis=None)
    if "plan" in names:
        outcome = names["cluster"].ledger(1)
        assert set(outcome["outcome"]) == {"replayed"}


def commands() -> list[list[str]]:
    """Return the commands of README, each in words."""
    return [words_of(command) for block in of_kind("") for command in block.commands]


@pytest.mark.parametrize("words", [words for words in commands() if words[0] == "tasktools"])
def test_a_command_runs_on_the_demo(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROKER_DSN", INCIDENT)
    check_usage(main, words[1:])
    if "--watch" not in words:  # which goes on
        done = CliRunner().invoke(main, words[1:])
        assert done.exit_code in {0, 1}, done.output  # 1: something critical is wrong
        assert "DEMO" in done.output
        assert done.exception is None or isinstance(done.exception, SystemExit | click.Abort)


def test_what_is_not_a_command_of_ours_is_there() -> None:
    others = [words for words in commands() if words[0] != "tasktools"]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for words in others:
        match words:
            case ["make", target]:
                assert target in targets
            case ["pip", "install", wheel]:
                assert wheel == f"dist/tasktools_ops-{tt.__version__}-py3-none-any.whl[notebooks]"
            case _:
                pytest.fail(f"nobody tries {words}")
    assert len(others) >= 3


def test_each_link_leads_to_a_file() -> None:
    links = _LINK.findall(README.read_text("utf-8"))
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []
