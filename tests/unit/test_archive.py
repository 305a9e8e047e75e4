"""Archives: what was discarded is on disk, byte for byte, whatever dies."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.replay import archive
from tasktools.replay.archive import Archived, ArchiveWriter, Head, free_archive

HEAD = Head(queue="emails.dead", plan="p")


def message(n: int, body: bytes = b"\x00\xff\n\r{", **fields: Any) -> Archived:
    usual: dict[str, Any] = {
        "key": f"k{n}",
        "task_id": None,
        "task_name": None,
        "properties": b"\x00\n",
    }
    return Archived(n=n, body=body, **usual | fields)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept.jsonl"


def write(file: Path, *messages: Archived, head: Head = HEAD) -> None:
    with ArchiveWriter(str(file), head) as writer:
        writer.add(messages)


def test_messages_come_back_byte_for_byte_in_their_order(file: Path) -> None:
    messages = [message(n, bytes(range(256)) * n, task_id=f"t{n}") for n in (2, 0, 1)]
    write(file, *messages)
    assert list(archive.read(str(file))) == messages
    assert archive.read_head(str(file)) == HEAD


def test_an_archive_is_readable_by_its_owner_alone(file: Path) -> None:
    write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_archive_without_messages_is_one(file: Path) -> None:
    write(file)
    assert list(archive.read(str(file))) == []


def test_a_run_that_goes_on_adds_to_its_archive(file: Path) -> None:
    write(file, message(0))
    write(file, message(1))
    assert [m.n for m in archive.read(str(file))] == [0, 1]
    assert file.read_text().count("tasktools archive") == 1


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_line_that_was_cut_off_is_left_out_and_does_not_spoil_the_next(
    file: Path, cut: int
) -> None:
    write(file, message(0), message(1))
    file.write_bytes(file.read_bytes()[:-cut])
    whole = [0] if cut > 1 else [0, 1]
    assert [m.n for m in archive.read(str(file))] == whole
    write(file, message(1), message(2))
    assert [m.n for m in archive.read(str(file))] == [0, 1, 2]


def test_of_a_message_that_is_there_twice_the_later_one_counts(file: Path) -> None:
    write(file, message(0, b"first"), message(1), message(0, b"second"))
    assert [(m.n, m.body) for m in archive.read(str(file))] == [
        (1, message(1).body),
        (0, b"second"),
    ]


@pytest.mark.parametrize("head", [Head(queue="other.dead", plan="p"), Head(queue="q", plan="x")])
def test_the_archive_of_another_plan_is_not_added_to(file: Path, head: Head) -> None:
    write(file, message(0))
    before = file.read_bytes()
    with pytest.raises(tt.InvalidPlan, match="another plan; nothing was discarded"):
        write(file, message(1), head=head)
    assert file.read_bytes() == before


def test_a_file_that_is_no_archive_is_not_added_to(file: Path) -> None:
    file.write_text("something else\n")
    with pytest.raises(tt.InvalidPlan, match="no archive of tasktools"):
        write(file, message(0))
    assert file.read_text() == "something else\n"


@pytest.mark.parametrize("text", ["{}\n", "\n", '{"queue":"q","plan":"p","format":"later"}\n'])
def test_the_head_of_another_file_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(tt.InvalidPlan, match="nothing was done"):
        archive.read_head(str(file))


def test_a_head_that_was_cut_off_is_none(file: Path) -> None:
    write(file)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(tt.InvalidPlan, match="no archive"):
        archive.read_head(str(file))


@pytest.mark.parametrize("left", [0, 1, 30])
def test_an_archive_whose_head_was_cut_off_begins_anew(file: Path, left: int) -> None:
    write(file)
    file.write_bytes(file.read_bytes()[:left])
    write(file, message(0))
    assert archive.read_head(str(file)) == HEAD
    assert [archived.n for archived in archive.read(str(file))] == [0]


def test_a_free_archive_is_a_new_file_in_a_folder_with_its_whole_path(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert free_archive("kept.jsonl") == str(file)
    assert not file.exists()
    file.touch()
    with pytest.raises(tt.InvalidPlan, match="there already; nothing was done"):
        free_archive(file)
    with pytest.raises(tt.InvalidPlan, match="no folder"):
        free_archive("none/kept")
