"""The table of faults, as `make faults` writes it."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from tests.faults import registry, results, table


def test_what_was_written_by_hand_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "FAULTS.md"
    table.write([], {}, file)
    written, current = file.read_text(), table.FILE.read_text()
    section = written[written.index("## On Celery") :]
    assert current.endswith(section)
    note = written[written.index("Healthy days 5 to 8") :].partition("\n\n")[0]
    assert note in current


def test_a_run_replaces_its_own_row_and_nothing_else(tmp_path: Path) -> None:
    faults, stored = registry.load(), results.read()
    file = tmp_path / "FAULTS.md"
    table.write(stored, faults, file)
    before = file.read_text().splitlines()
    run = next(each for each in stored if faults[each.fault].kind == "fault")
    table.write(results.renewed(stored, [replace(run, place=77)]), faults, file)
    after = file.read_text().splitlines()
    changed = [line for line in after if line not in before and "| 77 |" in line]
    assert len(changed) == 1
    assert changed[0].startswith(f"| {run.fault} ")
    rows = [line for line in before if line.startswith("|")]
    assert len([line for line in after if line in rows]) == len(rows) - 1


def test_rows_of_healthy_clusters_and_rows_before_a_fault_are_counted_apart() -> None:
    faults, stored = registry.load(), results.read()
    healthy = next(each for each in stored if faults[each.fault].kind == "healthy")
    fault = next(each for each in stored if faults[each.fault].kind == "fault")
    lines = table.summary(
        [
            replace(healthy, false=("vanishing:emails at 5 s",), watched_seconds=3000.0),
            replace(fault, false=("vanishing at -5 s", "hung at -5 s"), watched_seconds=120.0),
        ],
        faults,
    )
    assert "- 1 row `found` in 50 minutes of healthy clusters" in lines
    assert "- 2 rows `found` in 2 minutes before a fault was injected" in lines


def test_the_table_is_that_of_the_results(tmp_path: Path) -> None:
    file = tmp_path / "FAULTS.md"
    table.write(results.read(), registry.load(), file)
    rows = [line for line in file.read_text().splitlines() if line.startswith("|")]
    assert rows == [line for line in table.FILE.read_text().splitlines() if line.startswith("|")]


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    results.write(results.read(), file)
    assert file.read_bytes() == results.FILE.read_bytes()
