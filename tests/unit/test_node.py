"""The processes of a private node; the node itself is tested by all that uses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

_STARTS_AND_WAITS = """
import os, sys, time
from tasktools.testing.node import start_with_parent
start_with_parent(["sh", "-c", "sleep 1000 & echo started; wait"], os.environ, sys.stdout.buffer)
time.sleep(1000)
"""


@pytest.mark.timeout(120)
def test_a_node_ends_with_a_process_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _STARTS_AND_WAITS], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == b""  # the end comes once no process has this output any more
    parent.stdout.close()
