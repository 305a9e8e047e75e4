"""The symptoms of causes: which finding explains which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tasktools.diagnosis.finding import Finding

_SILENCE: Final = frozenset(
    {
        "worker_frozen",
        "worker_gone",
        "worker_late",
        "workers_gone",
        "beat_missing",
        "lock_orphaned",
    }
)
"""Heartbeats are messages: in an alarm, all workers fall silent at once."""

SYMPTOMS: Final[Mapping[str, frozenset[str]]] = {
    "worker_frozen": frozenset(
        {
            "nothing_acknowledged",
            "too_few_workers",
            "task_stuck",
            "worker_late",
            "worker_gone",
            "lock_orphaned",
        }
    ),
    "poison_task": frozenset(
        {"restart_loop", "workers_gone", "worker_gone", "worker_late", "retry_storm", "failing"}
    ),
    "restart_loop": frozenset({"workers_gone", "no_consumer", "worker_gone", "worker_late"}),
    "workers_gone": frozenset(
        {"no_consumer", "advertised_not_consumed", "worker_gone", "worker_late", "lock_orphaned"}
    ),
    "worker_gone": frozenset({"lock_orphaned"}),
    "lock_orphaned": frozenset({"lock_token_lost", "republish_loop"}),
    "queue_full": frozenset({"vanishing", "no_consumer"}),
    "service_time_risen": frozenset({"too_few_workers", "utilisation_high"}),
    "limit_saturated": frozenset({"publisher_surge", "service_time_risen", "uneven"}),
    "prefetch_hoarding": frozenset({"too_few_workers", "uneven", "prefetch_too_high"}),
    "prefetch_too_high": frozenset({"uneven"}),
    "too_few_workers": frozenset({"utilisation_high"}),
    "dead_growing": frozenset({"retry_storm"}),
    "failing": frozenset({"retry_storm"}),
    "own_replay": frozenset({"publisher_surge", "too_few_workers", "service_time_risen"}),
    "publisher_surge": frozenset({"too_few_workers"}),
    "vanishing": frozenset({"dead_growing"}),
    "workers_hung": frozenset(
        {
            "nothing_acknowledged",
            "task_stuck",
            "too_few_workers",
            "head_of_line",
            "ack_timeout",
            "utilisation_high",
            "prefetch_too_high",
        }
    ),
    "nothing_acknowledged": frozenset({"too_few_workers"}),
    "held_back": frozenset({"nothing_acknowledged", "uneven"}),
    "head_of_line": frozenset({"task_stuck", "ack_timeout", "too_few_workers"}),
    "task_stuck": frozenset({"ack_timeout", "prefetch_too_high"}),
    "redelivery_loop": frozenset({"delivery_limit_near", "failing", "retry_storm"}),
    "limit_orphaned": frozenset({"advertised_not_consumed"}),
    "unknown_topic": frozenset({"no_consumer"}),
    "topic_paused": frozenset({"advertised_not_consumed", "no_consumer"}),
}
"""The symptoms that each cause brings about on its topics and workers."""
_DEAD_GROWTH: Final = "dead letters"
"""Evidence of `vanishing`: by how much the dead letters grew in the same time."""


def explains(cause: Finding, symptom: Finding) -> bool:
    """Whether *cause* explains *symptom*, which concerns the same topic or worker.

    >>> full = Finding(check="queue_full", severity="critical", subject_kind="topic",
    ...                subject="emails", finding="-")
    >>> lost = Finding(check="vanishing", severity="critical", subject_kind="topic",
    ...                subject="emails", finding="-")
    >>> explains(full, lost), explains(lost, full)
    (True, False)
    """
    if cause.check == "node_alarm":
        return symptom.check in _SILENCE or _is_of_a_topic_of(cause, symptom)
    if symptom.check not in SYMPTOMS.get(cause.check, frozenset()):
        return False
    return cause.check != "vanishing" or bool(cause.evidence.get(_DEAD_GROWTH))


def _is_of_a_topic_of(cause: Finding, symptom: Finding) -> bool:
    concerned = {*symptom.topics, symptom.subject if symptom.subject_kind == "topic" else ""}
    return symptom.check != cause.check and not concerned.isdisjoint(cause.topics)
