"""The thread behind the publish widget: it publishes, follows, and learns what exists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pandas as pd

from tasktools.core import schemas
from tasktools.core.errors import TaskToolsError
from tasktools.core.frames import frame_from
from tasktools.ops.cluster import Cluster
from tasktools.widgets.feed import Feed, Post
from tasktools.widgets.publishing.fates import all_ended, tasks_to_follow
from tasktools.widgets.publishing.state import Order

_FOLLOW_EVERY: Final = 0.5
_FOLLOW_SLOWLY: Final = 3.0
_NOTHING_NEW_FOR: Final = 60.0
"""Seconds without news of the tasks, after which they are asked for less often."""
_LEARN_EVERY: Final = 15.0
_MOST_KEPT: Final = 1_000
"""Tasks that stay on the list when others are published; a batch is kept whole."""


class PublishFeed(Feed):
    """Publishes orders and follows their tasks to the end. *registered* are names of tasks."""

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
        self._learn_at = 0.0
        self._settled = 0
        self._outcome = frame_from(schemas.PUBLISHED, [])
        self._follower = cluster.follow()
        self._followed = frame_from(schemas.FOLLOWED, [])
        self._news_at = 0.0

    # --- from any other thread ------------------------------------------------------

    def publish(self, order: Order) -> None:
        """Publish *order*, and follow its tasks."""
        self.do(lambda: self._publish(order))

    def want(self, topics: tuple[str, ...]) -> None:
        """Find out whether *topics* exist."""
        self._wanted = topics
        self.look_soon()

    # --- in the feed's thread -------------------------------------------------------

    def _publish(self, order: Order) -> None:
        news: dict[str, Any] = {"busy": False}
        self._settled = 0
        try:
            published = self._cluster.publish_many(
                order.frame, create=order.create, progress=self._advance
            )
            self._keep(published)
            news["outcome"] = self._outcome
        except TaskToolsError as error:  # it says itself that nothing was published
            news["refusal"] = str(error)
        finally:
            self.tell(**news)
        self._learn_at = 0.0  # the topic may be new

    def _advance(self, count: int) -> None:
        self._settled += count
        self.tell(settled=self._settled)

    def _keep(self, published: pd.DataFrame) -> None:
        """Put what was published above what was published before."""
        earlier = self._outcome.head(max(_MOST_KEPT - len(published), 0))
        self._outcome = pd.concat([published, earlier], ignore_index=True)
        self._follower = self._cluster.follow(tasks_to_follow(self._outcome))
        self._news_at = time.monotonic()

    def _look_around(self) -> float:
        if time.monotonic() >= self._learn_at:
            topics = self._cluster.topics()
            self._exist = set(topics.loc[topics["exists"].fillna(value=False), "topic"])
            self._missing = set()
            self.tell(tasks=tuple(sorted({*self._cluster.task_names(), *self._registered})))
            self._learn_at = time.monotonic() + _LEARN_EVERY
        self._find_wanted()
        return min(self._follow(), max(self._learn_at - time.monotonic(), 0.0))

    def _find_wanted(self) -> None:
        for topic in set(self._wanted) - self._exist - self._missing:
            exists = self._cluster.broker.topic_exists(topic)
            (self._exist if exists else self._missing).add(topic)
        self.tell(topics=tuple(sorted(self._exist)), missing=tuple(sorted(self._missing)))

    def _follow(self) -> float:
        """Tell how far the tasks have got; returns the seconds until it is worth asking again."""
        followed = self._follower.frame()
        if not followed.equals(self._followed):
            self._followed, self._news_at = followed, time.monotonic()
            self.tell(followed=followed)
        if followed["state"].eq("succeeded").all():
            return _LEARN_EVERY
        idle = time.monotonic() - self._news_at > _NOTHING_NEW_FOR
        # What has failed may be tried again.
        return _FOLLOW_SLOWLY if idle or all_ended(followed) else _FOLLOW_EVERY
