"""The command line: ``tasktools status|workers|topics|tasks|publish|dead|replay|…``."""

from tasktools.cli import dead, operate, replay, tap
from tasktools.cli.commands import main
from tasktools.cli.failures import failures
from tasktools.cli.record import record
from tasktools.cli.worker import worker

for _command in (
    *(worker, operate.topic, operate.drain, operate.locks, operate.unlock),
    *(dead.dead, replay.replay, replay.discard, replay.restore, dead.ledger),
    *(record, failures, tap.tap, tap.untap, tap.published),
):
    main.add_command(_command)

__all__ = ("main",)
