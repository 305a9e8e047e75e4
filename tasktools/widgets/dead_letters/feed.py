"""The thread of the dead-letter widget: it looks, plans, runs, and follows replayed tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

import msgspec
import pandas as pd
from msgspec.structs import replace

from tasktools.capacity.added_waits import AddedWaits
from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import QueueNotFound, TaskToolsError
from tasktools.core.models import Properties, SeenMessage
from tasktools.core.plans import Plan
from tasktools.core.redaction import Redaction
from tasktools.replay.outcome import Outcome
from tasktools.replay.replayed_tasks import causes, is_settled
from tasktools.widgets.dead_letters.requests import (
    ImpactInputs,
    ImpactResult,
    LookOrder,
    LookResult,
    MessageOrder,
    Order,
    PlanOrder,
    PlanResult,
    RunOrder,
    RunResult,
    TopicCount,
    TopicVerdict,
    WholeMessage,
)
from tasktools.widgets.dead_letters.state import FATES
from tasktools.widgets.feed import Feed, Post

_TOPICS_EVERY_SECONDS: Final = 15.0


class DeadLettersFeed(Feed):
    """Does the orders of the state, one after the other."""

    follow_seconds = 1.0
    """Seconds between two looks at the replayed tasks."""

    def __init__(
        self,
        cluster: Cluster,
        history: Cluster | None,
        receive: Callable[[Mapping[str, Any]], object],
        post: Post,
    ) -> None:
        super().__init__("dead-letters", self._look_around, receive, post)
        self._cluster = cluster
        self._impacts = None if history is None else AddedWaits(history)
        self._asked: ImpactInputs | None = None
        self._answered: ImpactInputs | None = None
        self._topic = ""
        self._learn_at = 0.0
        self._judged_topic = ""
        self._cancelled = threading.Event()
        self._outcome: Outcome | None = None
        """The last replay, while its tasks are followed."""

    # --- from any other thread ------------------------------------------------------

    def execute(self, order: Order) -> None:
        """Do *order* in the feed's thread."""
        if isinstance(order, RunOrder):
            self._cancelled = order.cancelled
        self.do(lambda: self._execute(order))

    def want(self, topic: str) -> None:
        """Determine the cost of a look at the dead letters of *topic*."""
        self._topic = topic
        self.look_soon()

    def estimate(self, asked: ImpactInputs | None) -> None:
        """Determine the impact of the replay *asked* on live tasks, if a history is available."""
        self._asked = asked
        if self._impacts is not None and asked is not None:
            self.look_soon()

    def close(self) -> None:
        """Cancel a run and end the thread. Idempotent."""
        self._cancelled.set()
        super().close()

    # --- in the feed's thread -------------------------------------------------------

    def _execute(self, order: Order) -> None:
        news: dict[str, Any] = {"busy": ""}  # first, since the state may give the next order
        try:
            news |= self._done(order)
        except TaskToolsError as error:  # its text says what was and was not done
            news[order.refusal] = str(error)
        finally:
            if isinstance(order, RunOrder):
                news.setdefault("ended", RunResult(order.plan, None))
            self._learn_at = 0.0  # the counts, and perhaps the cost of a look, have changed
            self.tell(**news)

    def _done(self, order: Order) -> dict[str, Any]:
        cluster = self._cluster
        match order:
            case LookOrder(topic=topic):
                return {"looked": _looked(topic, cluster.dead_letters(topic))}
            case MessageOrder(queue=queue, key=key):
                message = cluster.message(queue, key)
                shown = None if message is None else _masked(message, cluster.redaction)
                return {"whole": WholeMessage(key, shown)}
            case PlanOrder():
                return {"planned": PlanResult(order.wanted, self._make_plan(order))}
            case RunOrder():
                return {"ended": RunResult(order.plan, self._run_plan(order))}
            case _:
                assert_never(order)

    def _make_plan(self, order: PlanOrder) -> Plan:
        wanted = order.wanted
        if wanted.verb == "discard":
            return self._cluster.plan_discard(order.rows, archive=wanted.archive)
        return self._cluster.plan_replay(
            order.rows, wanted.to, edits=order.edits or None, rate=wanted.rate
        )

    def _run_plan(self, order: RunOrder) -> Outcome:
        self.settled = 0
        outcome = self._cluster.run(
            order.plan,
            reason=order.reason,
            ramp=order.ramp,
            progress=self.advance,
            notice=lambda text: self.tell(problem=text),
            cancelled=order.cancelled,
        )
        self._outcome = outcome
        return outcome

    def _look_around(self) -> float:
        now = time.monotonic()
        if now >= self._learn_at:
            self.tell(topics=self._topics(), topics_are_read=True)
            self._learn_at = now + _TOPICS_EVERY_SECONDS
            self._judged_topic = ""
        if self._topic and self._topic != self._judged_topic:
            self._judged_topic = self._topic
            self.tell(judged=self._judge(self._topic))
        asked = self._asked
        if self._impacts is not None and asked is not None and asked != self._answered:
            self._answered = asked
            self.tell(impact=ImpactResult(asked, self._impact(self._impacts, asked)))
        if self._outcome is not None and self._follow(self._outcome):
            return self.follow_seconds
        return max(self._learn_at - time.monotonic(), 0.0)

    def _follow(self, outcome: Outcome) -> bool:
        """Send the states of the replayed tasks to the widget; return whether to ask again."""
        frame = outcome.following()
        if frame is None or frame.empty:
            self._outcome = None
            return False
        counts = frame["state"].value_counts()
        fates = {fate: int(counts[fate]) for fate in FATES if fate in counts}
        self.tell(fates=fates, causes=tuple(causes(frame)))
        if is_settled(frame):
            self._outcome = None
        return self._outcome is not None

    def _impact(self, impacts: AddedWaits, asked: ImpactInputs) -> str:
        try:
            return impacts.in_words(
                asked.topic,
                messages=asked.messages,
                rate=asked.rate,
                at=self._cluster.clock.time(),
            )
        except TaskToolsError:  # the history is gone: nothing is known
            return ""

    def _topics(self) -> tuple[TopicCount, ...]:
        topics = self._cluster.topics()
        counts = topics["dead_letter"].astype(object).where(topics["dead_letter"].notna(), None)
        return tuple(map(TopicCount, topics["topic"], counts))

    def _judge(self, topic: str) -> TopicVerdict:
        queue = self._cluster.broker.dead_queue(topic)
        if queue is None:
            return TopicVerdict(topic, why=f"Where the dead letters of {topic} lie is not known.")
        try:
            return TopicVerdict(topic, self._cluster.broker.look_verdict(queue))
        except QueueNotFound:
            return TopicVerdict(
                topic, why=f"There is no queue {queue}: no dead letters of {topic}."
            )
        except TaskToolsError as error:  # a recording has no queues
            return TopicVerdict(topic, why=str(error))


def _looked(topic: str, frame: pd.DataFrame) -> LookResult:
    (look,) = frame.attrs["looks"]
    return LookResult(topic, look["queue"], frame, note=look["note"] or "")


def _masked(message: SeenMessage, redaction: Redaction) -> SeenMessage:
    properties = message.properties
    values = {
        name: redaction.value(value) for name, value in msgspec.structs.asdict(properties).items()
    }
    return replace(message, properties=Properties(**values))
