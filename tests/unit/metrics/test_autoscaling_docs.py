"""The examples of docs/autoscaling.md: they can be read, and name what is served."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasktools.metrics.families import FAMILIES

PAGE = Path(__file__).parents[3] / "docs" / "autoscaling.md"
EXAMPLES = [
    yaml.safe_load(block)
    for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
]
BY_NAME = {family.name: family for family in FAMILIES}
_SELECTOR = re.compile(r"(tasktools_\w+)(?:\{([^}]*)\})?")
_SPAN = re.compile(r"\b(absent|rate|delta|increase)\((tasktools_\w+)")


def example(key: str) -> Any:
    """Return the example that has *key*."""
    (example,) = [each for each in EXAMPLES if key in each]
    return example


def rules() -> list[dict[str, Any]]:
    return [rule for group in example("groups")["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    triggers = example("spec")["spec"]["triggers"]
    return [each["metadata"]["query"] for each in triggers] + [rule["expr"] for rule in rules()]


def test_the_page_lists_each_metric_with_its_labels_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| (`tasktools_.*?) \|(.*?)\|", PAGE.read_text("utf-8"))
    listed = {
        name: tuple(re.findall(r"\w+", labels))
        for names, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    assert listed == {family.name: family.labels for family in FAMILIES}


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_metrics_and_labels_that_are_served(expression: str) -> None:
    assert expression.count("(") == expression.count(")")
    selectors = _SELECTOR.findall(expression)
    assert selectors
    for name, matchers in selectors:
        labels = re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', matchers)
        assert set(labels) <= set(BY_NAME[name].labels)
    for function, name in _SPAN.findall(expression):
        is_counter = BY_NAME[name].kind == "counter"
        assert function == "absent" or is_counter == (function in {"rate", "increase"})
    for labels in re.findall(r"\b(?:by|on|ignoring) \(([^)]*)\)", expression):
        assert any(labels in BY_NAME[name].labels for name, _ in selectors)


def test_a_rule_says_only_what_its_metrics_have() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        labels = {
            label for name, _ in _SELECTOR.findall(rule["expr"]) for label in BY_NAME[name].labels
        }
        shown = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
        assert set(shown) <= labels


def test_the_scaled_object_is_one_of_keda_with_what_its_prometheus_trigger_needs() -> None:
    scaled = example("spec")
    assert (scaled["apiVersion"], scaled["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    assert {"scaleTargetRef", "minReplicaCount", "maxReplicaCount"} <= scaled["spec"].keys()
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["type"] == "prometheus"
        assert {"serverAddress", "query", "threshold"} <= trigger["metadata"].keys()
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        float(trigger["metadata"]["threshold"])
