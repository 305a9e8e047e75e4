"""Runs a saved plan, and prints how many messages have come to an end: run_plan.py DSN PLAN."""

import sys

import tasktools as tt


def say(n: int) -> None:
    """Tell whoever reads."""
    print(n, flush=True)


with tt.connect(sys.argv[1]) as cluster:
    say(0)
    cluster.run(tt.load_plan(sys.argv[2]), reason="chaos", progress=say)
