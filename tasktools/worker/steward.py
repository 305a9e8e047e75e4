"""What a worker hears: questions, settings, commands and new topics; a thread of its own,
so that neither tasks nor heartbeats wait for what they cause."""

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
from tasktools.worker.presence import Presence
from tasktools.worker.subscriptions import Subscriptions

_log = logging.getLogger("tasktools.worker")

_OURS: Final = "tasktools-"
_CHECK: Final = 30.0
_BETWEEN_LOOKS: Final = 1.0
_PAUSE: Final = 0.5  # so that of several workers one writes what a peer said, and the others see it


class Steward:
    """Answers and obeys on behalf of one worker."""

    def __init__(
        self,
        broker: Broker,
        worker_id: str,
        *,
        sender_id: str,
        subscriptions: Subscriptions,
        presence: Presence,
        report: Callable[[], WorkerReport],
    ) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._sender_id = sender_id
        self._subscriptions = subscriptions
        self._presence = presence
        self._report = report
        self._inbox: queue.SimpleQueue[Event | Literal["look", "end"]] = queue.SimpleQueue()
        self._is_look_due = False
        self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name="tasktools-steward", daemon=True)
        self._stop_listening: Callable[[], None] = lambda: None

    def listen(self) -> None:
        """Keep what is heard from now on."""
        self._stop_listening = self._broker.listen(self._heard, tasks=False)

    def start(self) -> None:
        """Attend to what was heard, and is."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        try:
            self._stop_listening()
        except TaskToolsError as error:
            _log.warning("could not stop listening: %s", error)
        self._inbox.put("end")
        if self._thread.ident is not None:
            self._thread.join()

    def _heard(self, event: Event) -> None:
        """Keep what concerns us (a listener: returns at once)."""
        match event:
            case Question() | Command(target=self._worker_id):
                self._inbox.put(event)
            case SettingsUpdate():
                self._inbox.put(event)
                self._heard_of(event.topic)
            case TaskEvent(topic=str(topic)):
                self._heard_of(topic)
            case WorkerEvent():
                self._heard_of(*event.worker.topics, *event.worker.requested_topics)

    def _heard_of(self, *topics: str) -> None:
        if not self._is_look_due and any(map(self._subscriptions.is_new, topics)):
            self._is_look_due = True
            self._inbox.put("look")

    # --- the thread -----------------------------------------------------------------

    def _serve(self) -> None:
        check_at = time.monotonic() + _CHECK
        while True:
            look_at = self._looked_at + _BETWEEN_LOOKS if self._is_look_due else check_at
            wait = min(look_at, check_at) - time.monotonic()
            try:
                event = self._inbox.get(timeout=max(wait, 0.0))
            except queue.Empty:
                if time.monotonic() >= check_at:
                    check_at = time.monotonic() + _CHECK
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
            self._presence.beat()

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (TaskToolsError, ValueError) as error:  # the worker goes on
            _log.warning("could not do as told: %s", error)
        except Exception:  # noqa: BLE001 - the worker goes on
            _log.exception("a defect of tasktools; the worker goes on")

    def _handle(self, event: Event) -> None:
        match event:
            case Question(kind="who_is_alive"):
                me = self._report()
                self._presence.say(WorkerList(sender_id=self._sender_id, workers=(me,)))
            case Question(kind="config_request"):
                self._tell_settings()
            case SettingsUpdate():
                self._take_settings(event)
            case Command():
                self._obey(event)

    def _tell_settings(self) -> None:
        for topic, settings in self._broker.topic_settings().items():
            self._presence.say(
                SettingsUpdate(sender_id=self._sender_id, topic=topic, settings=settings)
            )

    def _take_settings(self, event: SettingsUpdate) -> None:
        """Go by the settings; those that a peer made are kept for all.

        One of ours may be an answer to an earlier question and out of date by now, so if it is
        news, what is kept counts.
        """
        if event.sender_id.startswith(_OURS):
            if event.settings != self._subscriptions.settings(event.topic):
                kept = self._broker.topic_settings().get(event.topic, event.settings)
                self._subscriptions.set_settings(event.topic, kept)
            return
        self._subscriptions.set_settings(event.topic, event.settings)
        time.sleep(random.uniform(0, _PAUSE))  # noqa: S311 - jitter
        if self._broker.topic_settings().get(event.topic) != event.settings:
            self._broker.configure_topic(event.topic, event.settings)

    def _obey(self, order: Command) -> None:
        topic = order.params.get("topic")
        _log.info("told to %s %s", order.action, topic or "")
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
                _log.warning("cannot obey %r: it lacks what it needs, or is unknown", order.action)
        self._presence.beat()
