"""Links from the home notebook to copies of the others that begin with a topic."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import tasktools as tt
from tasktools.core.errors import FileError
from tests.jupyter import NOTEBOOKS

TAKE_A_TOPIC = [
    "03_dead_letters.ipynb",
    "04_task_replay.ipynb",
    "05_live_dashboard.ipynb",
    "06_incident_investigation.ipynb",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(
        shutil.copytree(NOTEBOOKS, tmp_path / "notebooks", ignore=shutil.ignore_patterns("topics"))
    )


def sources(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    return ["".join(cell["source"]) for cell in cells]


def test_each_notebook_that_takes_a_topic_has_a_copy_that_begins_with_it(folder: Path) -> None:
    links = tt.widgets.notebook_links("orders", folder)
    assert list(links.paths.values()) == [Path("topics/orders", name) for name in TAKE_A_TOPIC]
    for name in TAKE_A_TOPIC:
        before, after = sources(folder / name), sources(folder / "topics" / "orders" / name)
        place = after.index("topic = 'orders'")
        assert before == after[:place] + after[place + 1 :]
        assert after[place - 1].startswith("topic = None")
    shown = links._repr_html_()
    assert '<a href="topics/orders/03_dead_letters.ipynb">Dead letters</a>' in shown
    assert "Dead letters: topics/orders/03_dead_letters.ipynb" in repr(links)


def test_a_copy_that_was_changed_stays(folder: Path) -> None:
    path = folder / tt.widgets.notebook_links("orders", folder).paths["Dead letters"]
    path.write_text("mine", encoding="utf-8")
    tt.widgets.notebook_links("orders", folder)
    assert path.read_text(encoding="utf-8") == "mine"


def test_names_of_topics_are_neither_paths_nor_code_nor_markup(folder: Path) -> None:
    evil = [
        "../up",
        "..",
        "a/b",
        "a_b",
        "a b",
        "'); raise SystemExit #",
        "<img src=x>",
        "ünï",
        "",
        "Orders",
        "orders",
    ]
    paths = [tt.widgets.notebook_links(name, folder).paths["Replay"] for name in evil]
    assert len(set(paths)) == len(evil)
    for name, path in zip(evil, paths, strict=True):
        assert (folder / path).resolve().is_relative_to(folder / "topics")
        assert (folder / path).parent.parent == folder / "topics"
        assert f"topic = {name!r}" in sources(folder / path)
    assert "<img" not in tt.widgets.notebook_links("<img src=x>", folder)._repr_html_()


def test_without_a_notebook_that_takes_one_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.ipynb").write_text(json.dumps({"cells": []}), encoding="utf-8")
    links = tt.widgets.notebook_links("orders", tmp_path)
    assert repr(links) == "orders: no notebook in this folder takes a topic"
    assert "no notebook in this folder takes a topic" in links._repr_html_()
    assert not (tmp_path / "topics").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(folder: Path) -> None:
    (folder / "topics").write_text("", encoding="utf-8")
    with pytest.raises(FileError, match="nothing was copied"):
        tt.widgets.notebook_links("orders", folder)
