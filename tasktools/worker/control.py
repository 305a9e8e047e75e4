"""The thread that handles events for a worker: questions, settings, commands, new topics.

Handling events in a thread of its own keeps tasks and heartbeats from waiting."""

from __future__ import annotations

import functools
import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Final, Literal

from tasktools.brokers.base import Broker
from tasktools.core.errors import TaskToolsError
from tasktools.core.events import (
    Command,
    Event,
    Question,
    SettingsUpdate,
    TaskEvent,
    WorkerEvent,
    WorkerList,
    WorkerReport,
)
from tasktools.worker.heartbeat import Heartbeat
from tasktools.worker.intervals import Intervals
from tasktools.worker.subscriptions import Subscriptions

_log = logging.getLogger("tasktools.worker")

_OURS: Final = "tasktools-"
_LOOK_INTERVAL: Final = 1.0  # seconds


class ControlThread:
    """The control thread of one worker."""

    def __init__(
        self,
        broker: Broker,
        worker_id: str,
        *,
        sender_id: str,
        subscriptions: Subscriptions,
        heartbeat: Heartbeat,
        report: Callable[[], WorkerReport],
        intervals: Intervals,
    ) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._sender_id = sender_id
        self._subscriptions = subscriptions
        self._heartbeat = heartbeat
        self._report = report
        self._intervals = intervals
        self._inbox: queue.SimpleQueue[Event | Literal["look", "end"]] = queue.SimpleQueue()
        self._is_look_due = False
        self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name="tasktools-control", daemon=True)
        self._stop_listening: Callable[[], None] = lambda: None

    def listen(self) -> None:
        """Begin to listen; events wait until `start`."""
        self._stop_listening = self._broker.listen(self._queue_event, tasks=False)

    def start(self) -> None:
        """Start the thread, which handles waiting and new events."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        try:
            self._stop_listening()
        except TaskToolsError as error:
            _log.warning("could not stop listening: %s", error)
        self._inbox.put("end")
        if self._thread.ident is not None:
            self._thread.join()

    def _queue_event(self, event: Event) -> None:
        """Queue an event if it concerns this worker. A listener: returns at once."""
        match event:
            case Question() | Command(target=self._worker_id):
                self._inbox.put(event)
            case SettingsUpdate():
                self._inbox.put(event)
                self._note_topics(event.topic)
            case TaskEvent(topic=str(topic)):
                self._note_topics(topic)
            case WorkerEvent():
                self._note_topics(*event.worker.topics, *event.worker.requested_topics)

    def _note_topics(self, *topics: str) -> None:
        if not self._is_look_due and any(map(self._subscriptions.is_new, topics)):
            self._is_look_due = True
            self._inbox.put("look")

    # --- the thread -----------------------------------------------------------------

    def _serve(self) -> None:
        check_at = time.monotonic() + self._intervals.check
        while True:
            look_at = self._looked_at + _LOOK_INTERVAL if self._is_look_due else check_at
            wait = min(look_at, check_at) - time.monotonic()
            try:
                event = self._inbox.get(timeout=max(wait, 0.0))
            except queue.Empty:
                if time.monotonic() >= check_at:
                    check_at = time.monotonic() + self._intervals.check
                    self._try(self._subscriptions.check)
                self._look()
                continue
            if event == "end":
                return
            if event != "look":
                self._try(functools.partial(self._handle, event))

    def _look(self) -> None:
        self._is_look_due, self._looked_at = False, time.monotonic()
        before = self._subscriptions.topics
        self._try(self._subscriptions.look)
        if self._subscriptions.topics != before:
            self._heartbeat.beat()

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (TaskToolsError, ValueError) as error:  # the worker goes on
            _log.warning("could not carry out the command: %s", error)
        except Exception:  # noqa: BLE001 - the worker goes on
            _log.exception("a defect of tasktools; the worker continues")

    def _handle(self, event: Event) -> None:
        match event:
            case Question(kind="who_is_alive"):
                me = self._report()
                self._heartbeat.say(WorkerList(sender_id=self._sender_id, workers=(me,)))
            case Question(kind="config_request"):
                self._tell_settings()
            case SettingsUpdate():
                self._take_settings(event)
            case Command():
                self._obey(event)

    def _tell_settings(self) -> None:
        for topic, settings in self._broker.topic_settings().items():
            self._heartbeat.say(
                SettingsUpdate(sender_id=self._sender_id, topic=topic, settings=settings)
            )

    def _take_settings(self, event: SettingsUpdate) -> None:
        """Apply settings; store those that a peer has sent.

        Settings that tasktools sent may answer an earlier question and be out of date, so if they
        are new to this worker, it uses the stored settings.
        """
        if event.sender_id.startswith(_OURS):
            if event.settings != self._subscriptions.settings(event.topic):
                settings = self._broker.topic_settings().get(event.topic, event.settings)
                self._subscriptions.set_settings(event.topic, settings)
            return
        self._subscriptions.set_settings(event.topic, event.settings)
        time.sleep(random.uniform(0, self._intervals.store_settings))  # noqa: S311 - jitter
        if self._broker.topic_settings().get(event.topic) != event.settings:
            self._broker.configure_topic(event.topic, event.settings)

    def _obey(self, order: Command) -> None:
        topic = order.params.get("topic")
        _log.info("command received: %s %s", order.action, topic or "")
        match order.action, topic, order.params.get("prefetch"):
            case "drain", _, _:
                self._subscriptions.drain()
            case "join_topic", str(topic), _:
                self._subscriptions.join(topic)
            case "leave_topic", str(topic), _:
                self._subscriptions.leave(topic)
            case "update_prefetch", str(topic), int(prefetch):
                self._subscriptions.set_prefetch(topic, prefetch)
            case _:
                _log.warning(
                    "ignored the command %r: a parameter is missing, or it is unknown", order.action
                )
        self._heartbeat.beat()
