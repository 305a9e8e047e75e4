"""Look at all dead letters of a topic once; print how many, and the memory in MB that it took.

The peak is that of the process, above what it had once connected (with pandas imported).
"""

import re
import resource
import sys
from pathlib import Path

import tasktools as tt

dsn, management_url, topic = sys.argv[1:]


def resident() -> float:
    """Return the memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak() -> float:
    """Return the most memory that this process has had, in MB. What `resource` tells of it begins
    with that of the process that started this one."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) / 2**10


with tt.connect(dsn, management_url=management_url) as cluster:
    cluster.dead_letters(topic, 1)
    before = resident()
    frame = cluster.dead_letters(topic)
    print(len(frame), round(peak() - before, 1))
