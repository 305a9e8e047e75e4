"""The thread of the publish widget: it publishes tasks, follows them, and lists topics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pandas as pd

from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import TaskToolsError
from tasktools.core.frames import schemas
from tasktools.core.frames.build import frame_from
from tasktools.monitor import consumption
from tasktools.widgets.feed import Feed, Post
from tasktools.widgets.publish.state import Order
from tasktools.widgets.publish.statuses import all_ended, tasks_to_follow

_TOPICS_EVERY_SECONDS: Final = 15.0
_QUIET_SECONDS: Final = 60.0
"""Seconds without news of the tasks, after which they are asked for less often."""


class PublishFeed(Feed):
    """Publishes orders and follows their tasks to the end. *registered* are extra task names."""

    follow_seconds = 0.5
    """Seconds between two looks at the tasks, while there is news of them."""
    follow_slowly_seconds = 3.0
    """Seconds between two looks at the tasks once they have ended, or after a minute without
    news."""
    max_tasks = 1_000
    """Tasks that stay on the list when others are published; a batch is kept whole."""

    def __init__(
        self,
        cluster: Cluster,
        receive: Callable[[Mapping[str, Any]], object],
        post: Post,
        *,
        registered: Iterable[str] = (),
    ) -> None:
        super().__init__("publish", self._look_around, receive, post)
        self._cluster = cluster
        self._registered = frozenset(registered)
        self._wanted: tuple[str, ...] = ()
        self._exist: set[str] = set()
        self._missing: set[str] = set()
        self._unconsumed: dict[str, str] = {}
        self._unconsumed_of: tuple[str, ...] | None = None
        self._learn_at = 0.0
        self._outcome = frame_from(schemas.PUBLISHED, [])
        self._follower = cluster.follow()
        self._followed = frame_from(schemas.FOLLOWED, [])
        self._news_at = 0.0

    # --- from any other thread ------------------------------------------------------

    def publish(self, order: Order) -> None:
        """Publish *order*, and follow its tasks."""
        self.do(lambda: self._publish(order))

    def want(self, topics: tuple[str, ...]) -> None:
        """Check whether *topics* exist, and whether anybody consumes them."""
        self._wanted = topics
        self.look_soon()

    # --- in the feed's thread -------------------------------------------------------

    def _publish(self, order: Order) -> None:
        news: dict[str, Any] = {"busy": False}
        self.settled = 0
        try:
            published = self._cluster.publish_many(
                order.frame, create=order.create, progress=self.advance
            )
            self._keep(published)
            news["outcome"] = self._outcome
        except TaskToolsError as error:  # its text says that nothing was published
            news["refusal"] = str(error)
        finally:
            self.tell(**news)
        self._learn_at = 0.0  # the topic may be new

    def _keep(self, published: pd.DataFrame) -> None:
        """Put the new tasks above the earlier ones, and follow all of them."""
        earlier = self._outcome.head(max(self.max_tasks - len(published), 0))
        self._outcome = pd.concat([published, earlier], ignore_index=True)
        self._follower = self._cluster.follow(tasks_to_follow(self._outcome))
        self._news_at = time.monotonic()

    def _look_around(self) -> float:
        if time.monotonic() >= self._learn_at:
            topics = self._cluster.topics()
            self._exist = set(topics.loc[topics["exists"].fillna(value=False), "topic"])
            self._missing, self._unconsumed_of = set(), None
            self.tell(tasks=tuple(sorted({*self._cluster.task_names(), *self._registered})))
            self._learn_at = time.monotonic() + _TOPICS_EVERY_SECONDS
        self._find_wanted()
        return min(self._follow(), max(self._learn_at - time.monotonic(), 0.0))

    def _find_wanted(self) -> None:
        for topic in set(self._wanted) - self._exist - self._missing:
            exists = self._cluster.broker.topic_exists(topic)
            (self._exist if exists else self._missing).add(topic)
        if self._wanted != self._unconsumed_of:
            self._unconsumed_of = self._wanted
            self._unconsumed = consumption.unconsumed(self._cluster.broker, self._unconsumed_of)
        dialects = {topic: self._cluster.broker.dialect_of(topic) for topic in self._wanted}
        self.tell(
            dialects=dialects,
            topics=tuple(sorted(self._exist)),
            missing=tuple(sorted(self._missing)),
            unconsumed=self._unconsumed,
        )

    def _follow(self) -> float:
        """Update the states of the tasks; return the seconds until the next look at them."""
        followed = self._follower.frame()
        if not followed.equals(self._followed):
            self._followed, self._news_at = followed, time.monotonic()
            self.tell(followed=followed)
        if followed["state"].eq("succeeded").all():
            return _TOPICS_EVERY_SECONDS
        is_quiet = time.monotonic() - self._news_at > _QUIET_SECONDS
        # A failed task may be retried.
        is_slow = is_quiet or all_ended(followed)
        return self.follow_slowly_seconds if is_slow else self.follow_seconds
