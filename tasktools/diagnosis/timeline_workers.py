"""Entries for workers that came and went, from samples of their states and from their events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tasktools.core.known_workers import GONE_AFTER
from tasktools.core.timespans import in_words
from tasktools.diagnosis.timeline_entry import Entry, clock
from tasktools.history.changes import Changes, RecordedEvent, StateChange

_FIRST_LOOK: Final = 10.0
"""Seconds after the start of a recorder in which it learns of workers that ran before."""
_SILENT: Final = ("late", "gone")


def worker_entries(changes: Changes) -> Iterator[Entry]:
    """Yield workers that came, said goodbye, fell silent, or were missing after a gap."""
    moments: defaultdict[str, list[StateChange | RecordedEvent]] = defaultdict(list)
    for change in changes.states:
        moments[change.worker_id].append(change)
    for event in changes.events:
        if event.event in ("register", "unregister") and event.worker_id is not None:
            moments[event.worker_id].append(event)
    for worker_id, happened in moments.items():
        story = _Story(worker_id, changes)
        samples = [each for each in happened if isinstance(each, StateChange)]
        story.know(samples[:1])
        for each in sorted(happened, key=lambda each: each.at):
            story.take(each)
        yield from story.end()


@dataclass
class _Story:
    """The history of one worker: samples and events are taken in order, and become entries."""

    worker_id: str
    changes: Changes
    entries: list[Entry] = field(default_factory=list)
    is_there: bool = False
    """Whether the worker has sent events and has not stopped; it may be silent."""
    sender: str | None = None
    """The node that registered it."""
    silent_since: float | None = None
    is_gone: bool = False
    is_unregistered: bool = False
    """Another node unregistered it while it was silent."""
    facts: dict[str, Any] = field(default_factory=dict)

    def know(self, samples: Iterable[StateChange]) -> None:
        """Note host and topics of the worker from *samples*."""
        for sample in samples:
            facts = {"host": sample.host, "topics": list(sample.topics)}
            self.facts = {name: value for name, value in facts.items() if value}

    def take(self, change: StateChange | RecordedEvent) -> None:
        """Process the next sample or event."""
        if isinstance(change, RecordedEvent):
            self._say(change)
            return
        self.know([change])
        if change.state == "alive":
            if self.silent_since is not None:
                self._speak(change.at, self.silent_since)
            elif not self.is_there and not self._was_there_before(change):
                self._come(change.at, "samples")
            self.is_there = True
        elif change.state in _SILENT:
            self._fall_silent(change)
        elif self.is_there and self.silent_since is None:
            self._stop(change.last_seen or change.at, "samples")

    def _was_there_before(self, change: StateChange) -> bool:
        """Whether the worker had started before recording began."""
        if change.at <= self.changes.since:
            return True
        begins = [at for at in self.changes.begins if at <= change.at <= at + _FIRST_LOOK]
        if not self.changes.was_recorded and self.changes.first is not None:
            begins += [self.changes.first] if change.at <= self.changes.first + _FIRST_LOOK else []
        return bool(begins)

    def _say(self, event: RecordedEvent) -> None:
        is_own = self.sender in (None, event.sender_id)
        if event.event == "register":
            self.sender = event.sender_id
            if self.silent_since is not None:
                self._speak(event.at, self.silent_since)
            elif not self.is_there:
                self._come(event.at, "events")
            self.is_there = True
        elif self.silent_since is not None:
            self.is_unregistered = True
        elif not is_own:  # a node of fastpluggy says it for another that it knows is dead
            self.silent_since, self.is_gone, self.is_unregistered = event.at, True, True
        elif self.is_there or not self.entries:
            self._stop(event.at, "events")

    def _come(self, at: float, source: str) -> None:
        where = f" on {self.facts['host']}" if "host" in self.facts else ""
        self._add(at, "came", f"worker {self.worker_id} came{where}", source)

    def _stop(self, at: float, source: str) -> None:
        self.is_there = False
        self._add(at, "stopped", f"worker {self.worker_id} said goodbye", source)

    def _fall_silent(self, change: StateChange) -> None:
        if self.silent_since is None:
            self.silent_since = change.at if change.last_seen is None else change.last_seen
        self.is_there = True
        self.is_gone |= change.state == "gone"

    def _speak(self, at: float, since: float) -> None:
        """Add an entry for a silence that began at *since* and ends now."""
        if at >= self.changes.since:
            sentence = f"worker {self.worker_id} was silent for {in_words(max(at - since, 0.0))}"
            self._add_silence(sentence, since, until=at)
        self.silent_since, self.is_gone, self.is_unregistered = None, False, False

    def end(self) -> list[Entry]:
        """Return all entries, the last with a silence that still lasts."""
        if self.silent_since is not None:
            sentence = f"worker {self.worker_id} is silent since {clock(self.silent_since)}"
            sentence += ": it is gone, and said no goodbye" if self.is_gone else ""
            self._add_silence(sentence, self.silent_since, until=None)
        elif self.is_there:
            self._end_unseen()
        return self.entries

    def _add_silence(self, sentence: str, since: float, *, until: float | None) -> None:
        if self.is_unregistered:
            sentence += "; another node unregistered it"
        self._add(
            since,
            "gone" if self.is_gone else "silent",
            sentence,
            "samples",
            until=until,
            lasts=until is None,
            severity="warning" if self.is_gone else "suspect",
        )

    def _end_unseen(self) -> None:
        """Add an entry for a worker that is missing from the last samples: it ended while nothing
        was recorded."""
        last_sample = self.changes.last_samples.get(self.worker_id)
        last = self.changes.last
        margin = self.changes.turn + 2 * self.changes.every
        if last_sample is not None and last is not None and last - last_sample > margin:
            sentence = (
                f"worker {self.worker_id} was not seen after {clock(last_sample)}; the time of "
                "its end was not recorded"
            )
            self._add(last_sample, "lost sight of", sentence, "samples", severity="suspect")

    def _add(self, at: float, event: str, sentence: str, source: str, **more: Any) -> None:
        entry = Entry(
            at=at,
            kind="worker",
            subject_kind="worker",
            subject=self.worker_id,
            event=event,
            sentence=sentence,
            source=source,
            details=self.facts,
            **more,
        )
        self.entries.append(entry)


def was_gone_before(entry: Entry, since: float) -> bool:
    """Whether *entry* is of a worker that was gone at *since* already."""
    return entry.lasts and entry.at + GONE_AFTER < since


def absences(entries: Iterable[Entry]) -> dict[str, list[tuple[float, float]]]:
    """Return the spans in which each worker was gone or had stopped."""
    spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.at):
        its = spans[entry.subject]
        if entry.event in ("gone", "stopped"):
            its.append((entry.at, float("inf") if entry.until is None else entry.until))
        elif entry.event == "came" and its and its[-1][1] > entry.at:
            its[-1] = its[-1][0], entry.at
    return dict(spans)
