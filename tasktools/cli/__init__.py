"""The command line: ``tasktools status|diagnose|workers|topics|tasks|publish|dead|…``."""

from tasktools.cli import admin, dead, replay, tap
from tasktools.cli.capacity import capacity
from tasktools.cli.diagnose import diagnose
from tasktools.cli.failures import failures
from tasktools.cli.forecast import forecast
from tasktools.cli.main import main
from tasktools.cli.metrics import metrics
from tasktools.cli.notebook import notebook
from tasktools.cli.record import record
from tasktools.cli.report import report
from tasktools.cli.timeline import timeline
from tasktools.cli.worker import worker

for _command in (
    *(worker, admin.topic, admin.drain, admin.locks, admin.unlock, admin.mark),
    *(dead.dead, replay.replay, replay.discard, replay.restore, dead.ledger),
    *(capacity, diagnose, forecast, metrics, notebook, record, report, failures, timeline),
    *(tap.tap, tap.untap, tap.published),
):
    main.add_command(_command)

__all__ = ("main",)
