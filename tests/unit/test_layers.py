"""The layer rule holds, and pika's names stay where they belong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_import_linter_finds_no_broken_layer() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_pika_name_appears_outside_its_backend() -> None:
    backend = ROOT / "tasktools" / "brokers" / "rabbitmq"
    for file in (ROOT / "tasktools").rglob("*.py"):
        if backend not in file.parents:
            assert not re.search(r"\bpika\.", file.read_text(encoding="utf-8")), file


def test_nothing_is_ever_unpickled() -> None:
    for file in (ROOT / "tasktools").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(?m)^\s*(import|from) (pickle|dill|cloudpickle|shelve)\b", text)
