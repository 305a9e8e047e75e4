"""The task of the throughput benchmark, the same for every runner: it counts itself."""

import itertools
import os
import time

TOTAL = int(os.environ["BENCH_TOTAL"])
RESULT = os.environ["BENCH_RESULT"]
_numbers = itertools.count(1)  # atomic under the GIL
_began = 0.0


def noop(n: int) -> None:  # noqa: ARG001
    """Do nothing; the last one writes the seconds since the first, and the CPU seconds."""
    global _began  # noqa: PLW0603 - one process, one count
    number = next(_numbers)
    if number == 1:
        _began = time.monotonic() - 1e-9
    if number == TOTAL:
        seconds = time.monotonic() - _began
        with open(RESULT + ".part", "w", encoding="utf-8") as out:  # noqa: PTH123
            out.write(f"{seconds} {time.process_time()}")
        os.replace(RESULT + ".part", RESULT)  # noqa: PTH105
