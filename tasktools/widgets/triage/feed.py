"""The thread behind the dead-letter widget: it looks, plans, runs, and follows the replayed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

import pandas as pd
from msgspec.structs import replace

from tasktools.core.errors import QueueNotFound, TaskToolsError
from tasktools.core.models import SeenMessage
from tasktools.core.plans import Plan
from tasktools.core.redaction import mask
from tasktools.ops.cluster import Cluster
from tasktools.ops.following import ENDED
from tasktools.ops.ledger import DONE
from tasktools.widgets.feed import Feed, Post
from tasktools.widgets.triage.orders import (
    Ended,
    Judged,
    Looked,
    LookOrder,
    MessageOrder,
    Order,
    Planned,
    PlanOrder,
    RunOrder,
    TopicCount,
    Whole,
)
from tasktools.widgets.triage.state import FATES

_LEARN_EVERY: Final = 15.0
_FOLLOW_EVERY: Final = 1.0
_MOST_FOLLOWED: Final = 2_000


class DeadLettersFeed(Feed):
    """Does what the state orders, one after the other."""

    def __init__(
        self, cluster: Cluster, receive: Callable[[Mapping[str, Any]], object], post: Post
    ) -> None:
        super().__init__("dead-letters", self._look_around, receive, post)
        self._cluster = cluster
        self._topic = ""
        self._learn_at = 0.0
        self._judged_topic = ""
        self._settled = 0
        self._cancelled = threading.Event()
        self._replayed = Replayed(cluster)

    # --- from any other thread ------------------------------------------------------

    def obey(self, order: Order) -> None:
        """Do what *order* says."""
        if isinstance(order, RunOrder):
            self._cancelled = order.cancelled
        self.do(lambda: self._obey(order))

    def want(self, topic: str) -> None:
        """Find out what a look at the dead letters of *topic* would cost."""
        self._topic = topic
        self.look_soon()

    def close(self) -> None:
        """End a run early, and with it the thread. Idempotent."""
        self._cancelled.set()
        super().close()

    # --- in the feed's thread -------------------------------------------------------

    def _obey(self, order: Order) -> None:
        news: dict[str, Any] = {"busy": ""}  # first: the state goes on from here
        try:
            news |= self._done(order)
        except TaskToolsError as error:  # it says itself what was and was not done
            news[order.refusal] = str(error)
        finally:
            if isinstance(order, RunOrder):
                news.setdefault("ended", Ended(order.plan, None))
            self._learn_at = 0.0  # counts have changed, and perhaps what a look costs
            self.tell(**news)

    def _done(self, order: Order) -> dict[str, Any]:
        cluster = self._cluster
        match order:
            case LookOrder(topic=topic):
                return {"looked": _looked(topic, cluster.dead_letters(topic))}
            case MessageOrder(queue=queue, key=key):
                found = cluster.message(queue, key)
                shown = found if found is None or cluster.reveal else _masked(found)
                return {"whole": Whole(key, shown)}
            case PlanOrder():
                return {"planned": Planned(order.wanted, self._make_plan(order))}
            case RunOrder():
                return {"ended": Ended(order.plan, self._run_plan(order))}
            case _:
                assert_never(order)

    def _make_plan(self, order: PlanOrder) -> Plan:
        wanted = order.wanted
        if wanted.verb == "discard":
            return self._cluster.plan_discard(order.rows, archive=wanted.archive)
        return self._cluster.plan_replay(
            order.rows, wanted.to, edits=order.edits or None, rate=wanted.rate
        )

    def _run_plan(self, order: RunOrder) -> pd.DataFrame:
        self._settled = 0
        self._replayed.begin(order.plan, is_ramped=order.ramp is not None)
        outcome = self._cluster.run(
            order.plan,
            reason=order.reason,
            ramp=order.ramp,
            progress=self._advance,
            cancelled=order.cancelled,
        )
        self._replayed.keep(outcome)
        return outcome

    def _advance(self, count: int) -> None:
        self._settled += count
        self.tell(settled=self._settled)

    def _look_around(self) -> float:
        now = time.monotonic()
        if now >= self._learn_at:
            self.tell(topics=self._topics())
            self._learn_at = now + _LEARN_EVERY
            self._judged_topic = ""
        if self._topic and self._topic != self._judged_topic:
            self._judged_topic = self._topic
            self.tell(judged=self._judge(self._topic))
        if not self._replayed.are_known:
            self.tell(fates=self._replayed.fates())
            return _FOLLOW_EVERY
        return max(self._learn_at - time.monotonic(), 0.0)

    def _topics(self) -> tuple[TopicCount, ...]:
        topics = self._cluster.topics()
        counts = topics["dead_letter"].astype(object).where(topics["dead_letter"].notna(), None)
        return tuple(map(TopicCount, topics["topic"], counts))

    def _judge(self, topic: str) -> Judged:
        queue = self._cluster.broker.layout.dead_queue(topic)
        try:
            return Judged(topic, self._cluster.broker.look_verdict(queue))
        except QueueNotFound:
            return Judged(topic, why=f"There is no queue {queue}: no dead letters of {topic}.")
        except TaskToolsError as error:  # a recording has no queues
            return Judged(topic, why=str(error))


class Replayed:
    """The tasks that were replayed, as far as they are followed: the first ones of a run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._follower = cluster.follow()
        self._before: pd.Series[int] = pd.Series(dtype=int)
        self.are_known = True

    def begin(self, plan: Plan, *, is_ramped: bool) -> None:
        """Hear of the tasks of *plan* from now on: workers may be quicker than the run."""
        ids = [m.task_id for m in plan.chosen if m.task_id] if plan.verb == "replay" else []
        self._follower = self._cluster.follow(ids[:_MOST_FOLLOWED])
        tries = self._follower.frame().set_index("task_id")["tries"]
        self._before = tries * 0 if is_ramped else tries  # a ramp forgets what was heard before

    def keep(self, outcome: pd.DataFrame) -> None:
        """Follow those that arrived, to their end."""
        arrived = outcome.loc[outcome["outcome"] == DONE["replay"], "task_id"]
        self._before = self._before[self._before.index.isin(arrived)]
        self.are_known = self._before.empty

    def fates(self) -> dict[str, int]:
        """Return how many there are of each of `FATES`."""
        frame = self._follower.frame().set_index("task_id").loc[self._before.index]
        states = frame["state"].where(frame["tries"] > self._before, "queued")
        self.are_known = bool(states.isin(ENDED).all())
        counts = states.value_counts()
        return {fate: int(counts[fate]) for fate in FATES if fate in counts}


def _looked(topic: str, frame: pd.DataFrame) -> Looked:
    (look,) = frame.attrs["looks"]
    return Looked(topic, look["queue"], frame, note=look["note"] or "")


def _masked(message: SeenMessage) -> SeenMessage:
    properties = message.properties
    return replace(message, properties=replace(properties, headers=mask(dict(properties.headers))))
