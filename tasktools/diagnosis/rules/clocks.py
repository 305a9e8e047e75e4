"""Checks of the beat, which starts periodic tasks, and of workers' clocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tasktools.core.models import Worker
from tasktools.core.timespans import in_words
from tasktools.core.workload import live_workers
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import CannotTell, Finding, Judgement, Rule
from tasktools.diagnosis.readings import heard_for, judged_topics, needs_events
from tasktools.diagnosis.running_tasks import speaking_workers
from tasktools.diagnosis.worker_reports import dialect_of

_BEAT: Final = "beat"
"""Part of the role of a process that starts periodic tasks, as in `worker+beat`."""
_SILENT_SECONDS: Final = 10.0
"""Seconds of silence after which a beat is missing."""
_OFF_SECONDS: Final = 5.0
_SUSPECT_SECONDS: Final = 2.0
"""Seconds by which a clock differs, for a finding and for a suspicion."""
_ALIKE_SECONDS: Final = 1.0
"""Offsets that differ by fewer seconds count as equal: they are known to half a second."""
_MAX_NAMED: Final = 10  # workers


def _beats(facts: Facts) -> list[Worker]:
    """Return the beat processes that sent events themselves, including gone ones."""
    return [
        worker
        for worker in facts.state.workers
        if _BEAT in (worker.role or "") and not worker.uncertain
    ]


def _beat_missing(facts: Facts) -> Iterator[Judgement]:
    if facts.heard_since is None:
        yield needs_events(facts, "whether a beat runs")
        return
    silence = {worker.worker_id: worker.silence or 0.0 for worker in _beats(facts)}
    silence |= {
        each.worker_id: facts.at - (each.stopped_at or each.last_beat)
        for each in facts.presence
        if _BEAT in (each.role or "") and each.worker_id not in silence
    }
    if not silence and (why := _why_no_beat(facts)) is not None:
        yield CannotTell(why=why, needs=("events",))
        return
    if not silence:
        why = f"no event of a beat came in the {in_words(heard_for(facts))} with known events; "
        yield CannotTell(why=why + "whether there should be one is not known", needs=("events",))
        return
    last = min(silence, key=lambda name: silence[name])
    stopped = any(worker.state == "stopped" for worker in _beats(facts))
    if silence[last] < _SILENT_SECONDS:
        return
    yield Finding(
        check="beat_missing",
        severity="critical",
        subject_kind="cluster",
        subject="beat",
        finding=(
            f"No process starts periodic tasks: the last event of a beat, {last!r}, came "
            f"{in_words(silence[last])} ago."
        ),
        evidence={"last beat": last, "silence": round(silence[last], 1), "beats": len(silence)},
        against={"a goodbye, which peers also say for others": stopped},
        since=facts.at - silence[last],
        remedy="Start one process with the role of a beat.",
        call="cluster.workers()",
        needs=("events",),
        needs_second_look=True,
        workers=tuple(sorted(silence)),
    )


def _beat_double(facts: Facts) -> Iterator[Judgement]:
    if facts.heard_since is None:
        yield needs_events(facts, "how many beats run")
        return
    speaking = speaking_workers(facts)
    beats = [worker for worker in _beats(facts) if worker.worker_id in speaking]
    if not beats and (why := _why_no_beat(facts)) is not None:
        yield CannotTell(why=why, needs=("events",))
    if len(beats) >= 2:
        yield Finding(
            check="beat_double",
            severity="warning",
            subject_kind="cluster",
            subject="beat",
            finding=(
                f"{len(beats)} processes are a beat, so that each periodic task is started "
                f"{len(beats)} times."
            ),
            evidence={
                "beats": [worker.worker_id for worker in beats[:_MAX_NAMED]],
                "hosts": sorted({worker.host for worker in beats if worker.host}),
            },
            since=_last_start(beats),
            remedy="Stop all but one of them.",
            call="cluster.workers()",
            needs=("events",),
            needs_second_look=True,
            workers=tuple(worker.worker_id for worker in beats),
        )


def _why_no_beat(facts: Facts) -> str | None:
    """Return why no events of a beat process could be received even if it runs; `None` if they
    could."""
    dialects = {dialect_of(facts, topic) for topic in judged_topics(facts)}
    if not dialects or any(dialect.has_beats for dialect in dialects):
        return None
    titles = " and ".join(sorted(dialect.title for dialect in dialects))
    return f"the process that starts periodic tasks of {titles} sends no heartbeats"


def _last_start(workers: Sequence[Worker]) -> float | None:
    starts = [worker.started_at.timestamp() for worker in workers if worker.started_at]
    return max(starts, default=None)


def _clock_off(facts: Facts) -> Iterator[Judgement]:
    if facts.heard_since is None:
        yield needs_events(facts, "the clocks of workers")
        return
    workers = [each for each in live_workers(facts.state.workers) if not each.uncertain]
    known = [(each.clock_offset, each) for each in workers if each.clock_offset is not None]
    off = [(offset, worker) for offset, worker in known if abs(offset) > _SUSPECT_SECONDS]
    offsets = [offset for offset, _ in known]
    are_alike = len(off) == len(known) > 1 and max(offsets) - min(offsets) <= _ALIKE_SECONDS
    if are_alike:
        yield _off(facts, off, "this machine")
        return
    by_host: dict[str, list[tuple[float, Worker]]] = {}
    for offset, worker in off:
        by_host.setdefault(worker.host or worker.worker_id, []).append((offset, worker))
    for _, of_host in sorted(by_host.items()):
        yield _off(facts, of_host, None)


def _off(facts: Facts, off: Sequence[tuple[float, Worker]], machine: str | None) -> Finding:
    offset, worst = max(off, key=lambda each: abs(each[0]))
    ahead = "ahead of" if offset > 0 else "behind"
    if machine is not None:
        behind = "behind" if offset > 0 else "ahead of"
        text = f"The clock of this machine is {in_words(abs(offset))} {behind} all others."
    else:
        text = (
            f"The clock of {worst.worker_id!r} on {worst.host!r} is {in_words(abs(offset))} "
            f"{ahead} ours."
        )
    return Finding(
        check="clock_off",
        severity="warning" if abs(offset) > _OFF_SECONDS else "suspect",
        subject_kind="worker" if machine is None else "cluster",
        subject=machine or worst.worker_id,
        finding=text,
        evidence={
            "offset": round(offset, 1),
            "workers": [worker.worker_id for _, worker in off[:_MAX_NAMED]],
            "host": worst.host if machine is None else None,
        },
        against={"other workers": len(live_workers(facts.state.workers)) - len(off)},
        remedy=(
            "Let the clock be set by NTP. Delays of retries and TTLs of Celery's tasks count from "
            "the publisher's clock."
        ),
        call="cluster.workers()",
        needs=("events",),
        workers=tuple(worker.worker_id for _, worker in off),
    )


RULES: Final = (
    Rule("beat_missing", 7, _beat_missing, "a beat that is gone"),
    Rule("beat_double", 7, _beat_double, "two beats at once"),
    Rule("clock_off", 8, _clock_off, "clocks that are off"),
)
"""Checks of the beat and of clocks."""
