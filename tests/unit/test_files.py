"""Files of the operator: written whole or not at all, never through a link, read in bounds."""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasktools as tt
from tasktools.core import files
from tasktools.core.plans import Plan
from tasktools.replay import archive
from tasktools.testing import outgoing
from tests.unit.test_plans import plan


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_a_plan_is_not_saved_through_a_link(tmp_path: Path, file: Path) -> None:
    """Issue 11, secrets: `plan.save` followed a symlink."""
    mine = tmp_path / "mine"
    mine.write_text("precious")
    file.symlink_to(mine)
    with pytest.raises(tt.FileError, match=r"cannot be written \(it is a link; name the file"):
        plan().save(file)
    assert mine.read_text() == "precious"
    assert file.is_symlink()
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(tt.FileError, match="it is a link"):
        plan().save(dangling)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file", "mine"]


def test_an_archive_is_not_written_through_a_link(tmp_path: Path, file: Path) -> None:
    """Issue 11, secrets: an archive is a file of the same kind."""
    mine = tmp_path / "mine"
    mine.touch()
    file.symlink_to(mine)
    with pytest.raises(tt.FileError, match=r"it is a link.*nothing was discarded"):
        archive.ArchiveWriter(str(file), archive.Head(queue="q", plan="p"))
    assert mine.read_bytes() == b""


@pytest.mark.parametrize("kind", ["folder", "fifo", "device"])
def test_what_is_no_file_is_neither_read_nor_written(kind: str, file: Path) -> None:
    """Issue 11, secrets: reading a pipe or /dev/zero does not end."""
    match kind:
        case "folder":
            file.mkdir()
        case "fifo":
            os.mkfifo(file)
        case _:
            file = Path("/dev/zero")
    for read in (tt.load_plan, archive.check, archive.read_head):
        with pytest.raises(tt.FileError, match="cannot be read"):
            read(str(file))
    with pytest.raises(tt.FileError, match="cannot be written"):
        plan().save(file)
    assert not stat.S_ISREG(file.stat().st_mode)


@pytest.mark.parametrize("path", ["a\0b", "nowhere/plan", "x" * 5000])
def test_a_name_that_no_file_has_is_one_sentence(path: str, tmp_path: Path) -> None:
    for read in (tt.load_plan, archive.check):
        with pytest.raises(tt.FileError, match="cannot be read"):
            read(str(tmp_path / path))
    with pytest.raises(tt.FileError, match="cannot be written"):
        plan().save(tmp_path / path)


def test_what_is_too_large_is_not_read(file: Path) -> None:
    file.write_bytes(b"x" * 100)
    assert files.read(file, at_most=100) == b"x" * 100
    with pytest.raises(tt.FileError, match="it is larger than"):
        files.read(file, at_most=99)


def test_gigabytes_in_one_line_are_no_plan_and_no_archive(file: Path) -> None:
    """Issue 11, secrets: a stranger's file is read in bounds."""
    with file.open("wb") as sparse:
        sparse.truncate(4 * 2**30)
    for read in (tt.load_plan, archive.check):
        with pytest.raises((tt.FileError, tt.InvalidPlan), match="nothing was done"):
            read(str(file))


# --- a full disk -----------------------------------------------------------------------


@pytest.fixture
def file_limit() -> Iterator[int]:
    """No file of this process may grow beyond this meanwhile, as on a disk that is full."""
    limit, (soft, hard) = 1_500_000, resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def discard_plan(cluster: tt.Cluster, file: Path, count: int) -> Plan:
    cluster.create_topic("emails")
    for n in range(count):
        body = b'{"n": %d, "x": "%s"}' % (n, b"x" * 100_000)
        cluster.broker.publish_many([outgoing("emails", body)])
        delivery = cluster.broker.claim("emails", "w")
        assert delivery is not None
        cluster.broker.nack(delivery.id, requeue=False)
    return cluster.plan_discard(cluster.dead_letters("emails"), archive=file)


def test_an_archive_on_a_full_disk_says_what_was_done_and_goes_on_later(
    file: Path, file_limit: int
) -> None:
    """Issue 11, secrets: an archive on a full disk was a raw `OSError`."""
    with tt.connect("memory://") as cluster:
        made = discard_plan(cluster, file, 20)
        with pytest.raises(tt.FileError, match=r"not be written \(File too large\); messages"):
            cluster.run(made, reason="x", progress=False)
        assert file.stat().st_size <= file_limit
        (ended,) = tt.ledger()["ended"]
        assert ended == "failed"
        left = cluster.broker.peek("emails.dead").ready_before
        assert left + len(list(archive.read(str(file)))) >= 20
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        outcome = cluster.run(made, reason="x", progress=False)
        assert Counter(outcome["outcome"]) == {"discarded": 20}
        assert [archived.n for archived in archive.read(str(file))] == list(range(20))
        restored = cluster.run(cluster.plan_restore(file), reason="x", progress=False)
        assert Counter(restored["outcome"]) == {"restored": 20}


def test_a_plan_on_a_full_disk_leaves_what_was_there(file: Path, file_limit: int) -> None:
    plan().save(file)
    before = file.read_bytes()
    with pytest.raises(tt.FileError, match=r"be written \(File too large\); nothing was done"):
        files.write(file, b"x" * (file_limit + 1))
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["file"]
