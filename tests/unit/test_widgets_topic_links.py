"""Links from the home notebook to copies of the others that begin with a topic."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasktools as tt
from tasktools.core.errors import FileError
from tasktools.testing import eventually
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


@pytest.fixture(scope="module")
def cluster() -> Iterator[tt.Cluster]:
    with tt.connect("demo://?incident=hung_tasks&seed=3") as cluster:
        yield cluster


def sources(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    return ["".join(cell["source"]) for cell in cells]


def test_each_notebook_that_takes_a_topic_has_a_copy_that_begins_with_it(
    folder: Path, cluster: tt.Cluster
) -> None:
    links = tt.widgets.notebook_links(cluster, "orders", folder)
    assert list(links.paths.values()) == [Path("topics/orders", name) for name in TAKE_A_TOPIC]
    added = "topic = 'orders'\ndefault = 'demo://?seed=3&incident=hung_tasks'"
    for name in TAKE_A_TOPIC:
        before, after = sources(folder / name), sources(folder / "topics" / "orders" / name)
        place = after.index(added)
        assert before == after[:place] + after[place + 1 :]
        assert after[place - 1].startswith("topic = None")
    shown = links._repr_html_()
    assert (
        '<a href="topics/orders/03_dead_letters.ipynb" style="text-decoration: underline">' in shown
    )
    assert "Dead letters: topics/orders/03_dead_letters.ipynb" in repr(links)


def test_links_of_a_page_of_voila_keep_its_theme(
    folder: Path, cluster: tt.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tt.widgets.notebook_links(cluster, "orders", folder)
    monkeypatch.setenv("QUERY_STRING", "theme=%3C/script%3E%27dark&other=1")
    assert "link.search = 'theme=%3C%2Fscript%3E%27dark'" in links._repr_html_()
    monkeypatch.setenv("QUERY_STRING", "other=1")
    assert "<script>" not in links._repr_html_()


def test_a_copy_that_was_changed_stays(folder: Path, cluster: tt.Cluster) -> None:
    path = folder / tt.widgets.notebook_links(cluster, "orders", folder).paths["Dead letters"]
    path.write_text("mine", encoding="utf-8")
    tt.widgets.notebook_links(cluster, "orders", folder)
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_copy_opens_the_cluster_of_the_link_and_keeps_what_was_changed_in_it(
    folder: Path, cluster: tt.Cluster, tmp_path: Path
) -> None:
    path = folder / tt.widgets.notebook_links(cluster, "orders", folder).paths["Dead letters"]
    changed = path.read_text(encoding="utf-8").replace("# Dead letters", "# Mine")
    path.write_text(changed, encoding="utf-8")
    with cluster.record(tmp_path / "ops.db"):
        eventually((tmp_path / "ops.db").exists)
    with tt.connect(f"sqlite:///{tmp_path}/ops.db") as history:
        tt.widgets.notebook_links(history, "orders", folder)
    assert f"topic = 'orders'\ndefault = 'sqlite:///{tmp_path}/ops.db'" in sources(path)
    assert "# Mine" in path.read_text(encoding="utf-8")


def test_a_copy_never_opens_the_demo_in_place_of_a_broker(folder: Path) -> None:
    with tt.connect("memory://") as other:
        path = folder / tt.widgets.notebook_links(other, "orders", folder).paths["Replay"]
    assert "topic = 'orders'\ndefault = None  # the cluster is that of BROKER_DSN" in sources(path)


def test_names_of_topics_are_neither_paths_nor_code_nor_markup(
    folder: Path, cluster: tt.Cluster
) -> None:
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
    paths = [tt.widgets.notebook_links(cluster, name, folder).paths["Replay"] for name in evil]
    assert len(set(paths)) == len(evil)
    for name, path in zip(evil, paths, strict=True):
        assert (folder / path).resolve().is_relative_to(folder / "topics")
        assert (folder / path).parent.parent == folder / "topics"
        assert f"topic = {name!r}" in "\n".join(sources(folder / path)).splitlines()
    assert "<img" not in tt.widgets.notebook_links(cluster, "<img src=x>", folder)._repr_html_()


def test_without_a_notebook_that_takes_one_that_is_said(
    tmp_path: Path, cluster: tt.Cluster
) -> None:
    (tmp_path / "mine.ipynb").write_text(json.dumps({"cells": []}), encoding="utf-8")
    links = tt.widgets.notebook_links(cluster, "orders", tmp_path)
    assert repr(links) == "orders: no notebook in this folder takes a topic"
    assert "no notebook in this folder takes a topic" in links._repr_html_()
    assert not (tmp_path / "topics").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(folder: Path, cluster: tt.Cluster) -> None:
    (folder / "topics").write_text("", encoding="utf-8")
    with pytest.raises(FileError, match="nothing was copied"):
        tt.widgets.notebook_links(cluster, "orders", folder)
