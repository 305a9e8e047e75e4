"""What a worker hears: questions, settings, commands and new topics; a thread of its own,
so that neither tasks nor heartbeats wait for what they cause."""

from __future__ import annotations

import functools
import logging
import queue
import random
import threading
from collections.abc import Callable
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.core.errors import BrokerError
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
from tasktools.core.models import TopicSettings
from tasktools.worker.presence import Presence
from tasktools.worker.subscriptions import Subscriptions

_log = logging.getLogger("tasktools.worker")

_OURS: Final = "tasktools-"
_LOOK_AGAIN: Final = 30.0
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
        self._inbox: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="tasktools-steward", daemon=True)
        self._stop_listening: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to listen."""
        self._stop_listening = self._broker.listen(self._heard)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._stop_listening()
        self._inbox.put(None)
        self._thread.join()

    def _heard(self, event: Event) -> None:
        """Keep what concerns us (a listener: returns at once)."""
        match event:
            case Question():
                self._inbox.put(event)
            case Command(target=self._worker_id):
                self._inbox.put(event)
            case SettingsUpdate():
                self._inbox.put(event)
            case TaskEvent(topic=str(topic)) if self._subscriptions.is_new(topic):
                self._inbox.put(event)
            case WorkerEvent() if any(map(self._subscriptions.is_new, event.worker.topics)):
                self._inbox.put(event)

    # --- the thread -----------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            try:
                event = self._inbox.get(timeout=_LOOK_AGAIN)
            except queue.Empty:
                self._try(self._subscriptions.refresh)
                continue
            if event is None:
                return
            self._try(functools.partial(self._handle, event))

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (BrokerError, ValueError) as error:  # of us or of the broker; the worker goes on
            _log.warning("could not do as told: %s", error)

    def _handle(self, event: Event) -> None:
        match event:
            case Question(kind="who_is_alive"):
                me = self._report()
                self._presence.say(WorkerList(sender_id=self._sender_id, workers=(me,)))
            case Question(kind="config_request") if event.sender_id != self._sender_id:
                for topic, settings in self._broker.topic_settings().items():
                    self._presence.say(self._update(topic, settings))
            case SettingsUpdate():
                self._take_settings(event)
            case Command():
                self._obey(event)
            case TaskEvent() | WorkerEvent():
                self._subscriptions.refresh()

    def _update(self, topic: str, settings: TopicSettings) -> SettingsUpdate:
        return SettingsUpdate(sender_id=self._sender_id, topic=topic, settings=settings)

    def _take_settings(self, event: SettingsUpdate) -> None:
        """Go by the settings; those that a peer made are kept for all."""
        self._subscriptions.set_settings(event.topic, event.settings)
        if self._subscriptions.is_new(event.topic):
            self._subscriptions.refresh()
        if event.sender_id.startswith(_OURS):
            return
        threading.Event().wait(random.uniform(0, _PAUSE))  # noqa: S311 - jitter
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
                _log.warning("cannot obey %r with %r", order.action, dict(order.params))
        self._presence.beat()
