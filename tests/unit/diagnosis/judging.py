"""Judgements of a rule, and whether the call that a finding proposes can be made."""

from __future__ import annotations

import ast
import inspect

import tasktools
from tasktools.cluster.cluster import Cluster
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import CannotTell, Finding, Judge


def findings(judge: Judge, facts: Facts) -> list[Finding]:
    """Return what *judge* finds, each with a call that can be made and a remedy."""
    each = [judgement for judgement in judge(facts) if isinstance(judgement, Finding)]
    for finding in each:
        assert finding.finding.endswith("."), finding
        assert finding.remedy, finding
        assert finding.needs, finding
        check_call(finding.call)
    return each


def only(judge: Judge, facts: Facts) -> Finding:
    """Return the single thing that *judge* says: a finding."""
    (finding,) = findings(judge, facts)
    assert unknown(judge, facts) == []
    return finding


def unknown(judge: Judge, facts: Facts) -> list[str]:
    """Return why *judge* cannot tell."""
    return [judgement.why for judgement in judge(facts) if isinstance(judgement, CannotTell)]


def says_nothing(judge: Judge, facts: Facts) -> bool:
    """Whether *judge* rules it out."""
    return not list(judge(facts))


def check_call(call: str | None) -> None:
    """Fail unless *call* is Python text that calls methods of a cluster as they are defined."""
    assert call is not None
    calls = [node for node in ast.walk(ast.parse(call, mode="eval")) if isinstance(node, ast.Call)]
    for node in calls:
        assert isinstance(node.func, ast.Attribute), call
        if not isinstance(node.func.value, ast.Name):
            continue  # a method of the frame that a call returns
        owner = {"cluster": Cluster, "tt": tasktools}[node.func.value.id]
        function = getattr(owner, node.func.attr)
        self = [None] if owner is Cluster else []
        keywords = {each.arg: None for each in node.keywords if each.arg is not None}
        inspect.signature(function).bind(*self, *node.args, **keywords)
