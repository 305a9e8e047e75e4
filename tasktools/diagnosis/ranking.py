"""The ranking of findings: causes above their symptoms, and an answer to every check."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from msgspec.structs import replace

from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import CannotTell, Finding, Row, Rule, Severity, Verdict
from tasktools.diagnosis.readings import wait_of
from tasktools.diagnosis.rules import RULES
from tasktools.diagnosis.staleness import without_stale_sources
from tasktools.diagnosis.symptoms import explains

_RANKS: Final[Mapping[Severity, int]] = {"critical": 0, "warning": 1, "suspect": 2}
_CHANGED_BEFORE: Final = 900.0  # seconds before a condition began
_SAMPLE_SECONDS: Final = 5.0  # between two samples of the management API
_MAX_CHANGES: Final = 10

# Within a level the more frequent cause comes first: shares of 47 public incidents of queue
# systems (slower downstream 23 %, surge 21 %, workers gone 15 %, alive but idle 9 %, limits 6 %).
_FREQUENT: Final = (
    "workers_hung",
    "service_time_risen",
    "publisher_surge",
    "workers_gone",
    "advertised_not_consumed",
    "limit_saturated",
)
_LEAST: Final = ("too_few_workers", "utilisation_high")  # what other causes of a level bring about


class Ranking(NamedTuple):
    """Rows for the frame of findings, the best explanation first.

    *wants_second_look*: a condition without a series was seen, and a second look some seconds later
    would show whether it lasts.
    """

    rows: tuple[Row, ...]
    wants_second_look: bool


class _Place(NamedTuple):
    """The rank of a finding: severity, level of its cause, frequency; always below its cause."""

    severity: int
    level: int
    frequency: int
    depth: int = 0

    def below(self, cause: _Place) -> _Place:
        """Return this rank, or the next after *cause* if that is later."""
        next_place = cause._replace(depth=cause.depth + 1)
        return max(self, next_place)


@dataclass(slots=True)
class _Answers:
    """The answers of the rules in one look."""

    findings: list[tuple[Rule, Finding]]
    unknown: list[tuple[Rule, list[CannotTell]]]
    ruled_out: list[Rule]


def judge(facts: Facts, second: Facts | None = None, *, rules: Sequence[Rule] = RULES) -> Ranking:
    """Return the verdicts of *rules* on *facts*, as rows.

    A finding whose condition is seen at one moment only, not over a series of samples, must last:
    it is found if both *facts* and the facts of a *second* look, some seconds later, show it.
    Without a second look it stays suspected, and `wants_second_look` is set.

    >>> from tasktools.core.layout import FP
    >>> from tasktools.core.clock import moment
    >>> from tasktools.core.models import ClusterState, Source
    >>> state = ClusterState(at=moment(100.0), events=Source(name="events", ok=True))
    >>> empty = Facts(at=100.0, heard_since=40.0, state=state, layout=FP)
    >>> {row.verdict for row in judge(empty).rows} <= {"ruled out", "cannot tell"}
    True
    """
    latest = without_stale_sources(second or facts)
    answers = _answers(latest, rules)
    fleeting = [each for each in answers.findings if _must_last(each[1])]
    if second is not None and fleeting:
        rules_to_ask = {rule.check: rule for rule, _ in fleeting}.values()
        earlier = _answers(without_stale_sources(facts), rules_to_ask)
        before = {finding.key for _, finding in earlier.findings if finding.severity != "suspect"}
    else:
        before = set()
    settled = [
        (rule, replace(finding, severity="suspect"))
        if _must_last(finding) and finding.key not in before
        else (rule, finding)
        for rule, finding in answers.findings
    ]
    rows = [_found(finding, latest) for finding in _ranked(settled)]
    rows += [_unknown(rule, unknown) for rule, unknown in answers.unknown]
    rows += [
        Row(verdict="ruled out", check=rule.check, finding=f"Ruled out: {rule.title}.")
        for rule in answers.ruled_out
    ]
    return Ranking(tuple(rows), second is None and bool(fleeting))


def _must_last(finding: Finding) -> bool:
    return finding.needs_second_look and finding.severity != "suspect"


def _answers(facts: Facts, rules: Iterable[Rule]) -> _Answers:
    answers = _Answers([], [], [])
    blind = _blind(facts)
    for rule in rules:
        judgements = list(rule.judge(facts))
        findings = [each for each in judgements if isinstance(each, Finding)]
        unknown = [each for each in judgements if isinstance(each, CannotTell)]
        answers.findings += [(rule, finding) for finding in findings]
        if unknown:
            answers.unknown.append((rule, unknown))
        elif not findings and blind is not None:
            answers.unknown.append((rule, [blind]))
        elif not findings:
            answers.ruled_out.append(rule)
    return answers


def _blind(facts: Facts) -> CannotTell | None:
    """Return why no check can be ruled out: the topics are not known. `None`: they are known."""
    if "broker" in facts.missing:
        return CannotTell(why=f"topics: {facts.missing['broker']}", needs=("broker",))
    is_listed = facts.server is not None and facts.server.queues is not None
    if not facts.topics and "management" in facts.missing and not is_listed:
        why = (
            "no topic is known: there is none yet, or it is not seen, as AMQP alone cannot list "
            "queues. Name them with connect(topics=[…]), or use a user with the tag management"
        )
        return CannotTell(why=why, needs=("broker",))
    return None


# --- order --------------------------------------------------------------------------------


def _ranked(findings: Sequence[tuple[Rule, Finding]]) -> list[Finding]:
    """Return *findings* in order, each symptom with its cause and below it."""
    places = {finding.key: _place(rule, finding) for rule, finding in findings}
    causes = _causes([finding for _, finding in findings], places)
    explained = [_explained(finding, causes.get(finding.key)) for _, finding in findings]
    by_rule = {finding.key: rule for rule, finding in findings}
    own = {finding.key: _place(by_rule[finding.key], finding) for finding in explained}

    def place(key: str) -> _Place:
        cause = causes.get(key)  # the pairs of `symptoms` have no circle, as a test shows
        return own[key] if cause is None else own[key].below(place(cause))

    return sorted(explained, key=lambda finding: (place(finding.key), finding.subject))


def _place(rule: Rule, finding: Finding) -> _Place:
    check = finding.check
    if check in _FREQUENT:
        frequency = _FREQUENT.index(check)
    else:
        frequency = len(_FREQUENT) + (1 + _LEAST.index(check) if check in _LEAST else 0)
    return _Place(_RANKS[finding.severity], rule.level, frequency)


def _causes(findings: Sequence[Finding], places: Mapping[str, _Place]) -> dict[str, str]:
    """Return for each finding that another one explains, by its key, the key of its cause; of
    several causes the first in rank."""
    by_subject: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    everywhere = []
    for finding in sorted(findings, key=lambda each: (places[each.key], each.subject)):
        if finding.severity == "suspect":
            continue  # what is only suspected explains nothing
        for concerned in _concerned(finding):
            by_subject[concerned].append(finding)
        if finding.subject_kind in ("node", "vhost", "cluster"):
            everywhere.append(finding)
    causes: dict[str, str] = {}
    for finding in findings:
        near = [each for concerned in _concerned(finding) for each in by_subject[concerned]]
        candidates = [each for each in (*everywhere, *near) if explains(each, finding)]
        if candidates:
            causes[finding.key] = min(candidates, key=lambda each: places[each.key]).key
    return causes


def _concerned(finding: Finding) -> set[tuple[str, str]]:
    concerned = {("topic", topic) for topic in finding.topics}
    concerned |= {("worker", worker) for worker in finding.workers}
    return concerned | {(finding.subject_kind, finding.subject)}


def _explained(finding: Finding, cause: str | None) -> Finding:
    if cause is None:
        return replace(finding, because=None)
    severity = "warning" if finding.severity == "critical" else finding.severity
    return replace(finding, because=cause, severity=severity)


# --- rows ---------------------------------------------------------------------------------


def _found(finding: Finding, facts: Facts) -> Row:
    verdict: Verdict = "suspected" if finding.severity == "suspect" else "found"
    ages = [source.age for source in facts.sources if source.name in finding.needs]
    age = finding.age
    if age is None:
        age = max((each for each in ages if each is not None), default=None)
    effect = finding.effect
    if effect is None and finding.subject_kind == "topic" and finding.subject in facts.topics:
        effect = wait_of(facts.topics[finding.subject])
    return Row(
        verdict=verdict,
        severity=finding.severity,
        check=finding.check,
        subject_kind=finding.subject_kind,
        subject=finding.subject,
        finding=finding.finding,
        evidence=finding.evidence,
        against=finding.against,
        because=finding.because,
        since=finding.since,
        effect=effect,
        changed=_changed(finding, facts),
        remedy=finding.remedy,
        call=finding.call,
        needs=finding.needs,
        age=age,
    )


def _changed(finding: Finding, facts: Facts) -> tuple[str, ...]:
    """Return the changes of the 15 min before the condition began, the latest last.

    It began between a sample and the next one, so what changed until then may be the cause.
    """
    began = facts.at if finding.since is None else finding.since
    changes = sorted(
        (
            change
            for change in facts.changes
            if -_SAMPLE_SECONDS < began - change.at <= _CHANGED_BEFORE
        ),
        key=lambda change: change.at,
    )
    return tuple(
        f"{change.text} ({in_words(abs(began - change.at))} "
        f"{'before' if change.at <= began else 'after'})"
        for change in changes[-_MAX_CHANGES:]
    )


def _unknown(rule: Rule, unknown: Sequence[CannotTell]) -> Row:
    reasons = list(dict.fromkeys(each.why for each in unknown))
    needs = dict.fromkeys(source for each in unknown for source in each.needs)
    return Row(
        verdict="cannot tell",
        check=rule.check,
        finding=f"Cannot tell of {rule.title}: {'; '.join(reasons).rstrip('.')}.",
        needs=tuple(needs),
    )
