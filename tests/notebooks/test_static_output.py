"""The static output of each widget, where nothing runs it: nbconvert, GitHub, an editor."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

_CELLS: Final = (
    """import tasktools as tt
cluster = tt.connect("demo://?incident=bad_deploy")
tt.widgets.incident(cluster)""",
    """letters = tt.widgets.dead_letters(cluster, "orders")
letters""",
    """letters.state.look()
await letters.idle()
publish = tt.widgets.publish(cluster)
publish""",
    """publish.state.topic, publish.state.task = "emails", "shop.emails:send_email"
publish.state.kwargs = '{"to": "secret@example.com"}'
await publish.idle()
assert publish.state.publish()
await publish.idle()
capacity = tt.widgets.capacity(cluster)
capacity""",
    """await capacity.idle()
tt.widgets.dashboard(cluster, window="5m")""",  # the last cell: the kernel ends after it
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_notebook_that_a_program_runs_shows_each_widget_as_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(tmp_path / "ledger.db"))
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, _CELLS)))
    NotebookClient(notebook, timeout=120, store_widget_state=False).execute()
    shown = [
        "".join(output.data.get("text/html", "") for output in cell.outputs if "data" in output)
        for cell in notebook.cells
    ]
    incident, letters, publish, capacity, board = shown
    assert "The dead letters of &#x27;orders&#x27; grew" in incident
    assert "messages in orders.dead." in letters
    assert "charge_card() missing" in letters
    assert "1 task: 1 confirmed" in publish
    assert "secret@example.com" not in publish
    assert "needs" in capacity
    assert "<svg" in capacity
    for text in ("Dead letters", "newsletters", "consumers", "The dead letters of"):
        assert text in board
    assert all(text.count('class="tt-demo"') == 1 for text in shown)

    page, _resources = HTMLExporter().from_notebook_node(notebook)
    assert all(text in page for text in ("charge_card() missing", "consumers", "1 confirmed"))
