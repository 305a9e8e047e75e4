"""Looks at messages in queues, above all at dead letters; nothing is consumed."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from tasktools.brokers.base import Look
from tasktools.cluster.base import ClusterBase
from tasktools.core.errors import QueueNotFound, QueueUnavailable
from tasktools.core.frames import messages, schemas
from tasktools.core.frames.table import Table
from tasktools.core.lazy_imports import pd
from tasktools.core.models import SeenMessage
from tasktools.core.plurals import named
from tasktools.core.topic_rules import check_queue_name
from tasktools.monitor import active_tasks

_LOOK_COLUMNS: Final = tuple(c.name for c in schemas.DEAD_LETTERS.columns if "look" in c.source)


class DeadLetters(ClusterBase):
    """The part of `Cluster` that looks at messages in queues."""

    def dead_letters(
        self, topic: str, limit: int | None = None, *, force: bool = False
    ) -> pd.DataFrame:
        """Return the dead letters of a topic. Nothing is consumed.

        All messages, or the first *limit*, are taken, shown and given back. The cost is decided
        before (``attrs["looks"]``): a look marks messages redelivered, and is refused where it
        could make RabbitMQ drop one. Bodies are not kept. The error comes from the message, or else
        from a worker's event that this `Cluster` received since its first call.

        Parameters
        ----------
        topic
            The topic.
        limit
            The number of messages, from the head of the queue; by default all.
        force
            Look even if RabbitMQ could drop a message.

        Returns
        -------
        pandas.DataFrame
            One row a message (schema `DEAD_LETTERS`).

        Raises
        ------
        UnknownTopic
            There is no *topic*.
        LookRefused
            RabbitMQ could drop a message, and *force* is not set; nothing was taken.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     delivery = cluster.broker.claim("emails", "worker-1")
        ...     delayed = cluster.broker.nack(delivery.id, requeue=False)
        ...     cluster.dead_letters("emails")[["task_name", "reason", "deaths"]]
        dead letters: 1 row; from look; looking at emails.dead was harmless; memory://,
          layout taskworker
           task_name  reason    deaths
        0  send       rejected       1

        """
        return self.dead_letters_table(topic, limit, force=force).frame()

    def dead_letters_table(
        self, topic: str, limit: int | None = None, *, force: bool = False
    ) -> Table:
        """Return `dead_letters` as a table, without importing pandas."""
        check_queue_name(topic)
        queue = self.broker.dead_queue(topic)
        if queue is None or not self.broker.queue_exists(queue):
            active_tasks.check_known(self.broker, self.broker.cluster_state(), topic)
        if queue is None:
            self._check_usable(topic)
            if homes := self.broker.homes_of(topic):
                raise QueueNotFound(
                    f"{topic!r} is itself the queue with the dead letters of {named(homes)}; "
                    f"nothing was changed. Name the topic, {homes[0]!r}, or look into the queue "
                    "with peek()."
                )
            raise QueueNotFound(
                f"Where the dead letters of {topic!r} lie is not known: its queue names no "
                "dead-letter queue that can be seen; nothing was changed. Name it, as in "
                'connect(dead="{topic}.dlq") (on the command line --dead), or look into it with '
                "peek()."
            )
        self._named.add(topic)
        return self._look(queue, topic, limit, force=force)

    def _check_usable(self, topic: str) -> None:
        """Raise `QueueUnavailable` if the queue of *topic* cannot be used: of such a queue neither
        policy nor bindings are known."""
        for stats in self.broker.topic_report([topic]).topics:
            if stats.topic == topic and stats.trouble is not None:
                raise QueueUnavailable(
                    f"Where the dead letters of {topic!r} lie is not known, since {stats.trouble}; "
                    "nothing was changed. Try again once that has ended.",
                    queue=topic,
                    why=stats.trouble,
                )

    def peek(self, queue: str, limit: int | None = None, *, force: bool = False) -> pd.DataFrame:
        """Return the messages of any queue as `dead_letters` does. Nothing is consumed.

        Parameters
        ----------
        queue
            The name of the queue.
        limit
            The number of messages, from the head of the queue; by default all.
        force
            Look even if RabbitMQ could drop a message.

        Returns
        -------
        pandas.DataFrame
            One row a message (schema `DEAD_LETTERS`).

        Raises
        ------
        QueueNotFound
            There is no *queue*.
        LookRefused
            RabbitMQ could drop a message, and *force* is not set; nothing was taken.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     cluster.peek("emails")[["position", "task_name"]]
        dead letters: 1 row; from look; looking at emails was harmless; memory://,
          layout taskworker
           position  task_name
        0         0  send

        """
        return self._look(queue, None, limit, force=force).frame()

    def message(self, queue: str, key: str, *, force: bool = False) -> SeenMessage | None:
        """Return one message with all its properties. Secrets are **not** masked.

        Parameters
        ----------
        queue
            The name of the queue.
        key
            The key of the message, from `dead_letters` or `peek`. Messages up to it are looked at.
        force
            Look even if RabbitMQ could drop a message.

        Returns
        -------
        SeenMessage or None
            The message; `None` if it is not in the queue.

        Raises
        ------
        QueueNotFound, LookRefused
            As for `peek`.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     key = cluster.peek("emails")["key"][0]
        ...     cluster.message("emails", key).task.task_name
        'send'

        """
        matches: list[SeenMessage] = []

        def receive(message: SeenMessage, _body: bytes) -> bool:
            if message.key == key:
                matches.append(message)
            return bool(matches)

        self.broker.peek(queue, receive=receive, force=force)
        return matches[0] if matches else None

    def _look(self, queue: str, topic: str | None, limit: int | None, *, force: bool) -> Table:
        rows = messages.DeadLetters(
            queue, topic=topic, heard_error=self._errors.get, redaction=self._redaction
        )
        self._listen()
        look = self.broker.peek(queue, limit, receive=rows.add, force=force)
        table = rows.table()
        report = _report(look, len(table))
        source = replace(active_tasks.look_source([report]), columns=_LOOK_COLUMNS)
        table = self._sourced(table, source)
        table.attrs["looks"] = [report.as_dict()]
        return table


def _report(look: Look, shown: int) -> active_tasks.LookReport:
    return active_tasks.LookReport(
        queue=look.queue,
        cost=look.verdict.cost.value,
        why=look.verdict.why,
        shown=shown,
        ready=look.ready_before,
        note=look.note,
    )
