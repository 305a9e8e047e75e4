"""The metrics that an exporter serves, read by prometheus-client's own parser."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

Scraped = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int) -> str:
    """Return what is served at *port*."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text: str = answer.read().decode()
    return text


def families(text: str) -> list[Metric]:
    """Return the metrics in *text*."""
    return list(text_string_to_metric_families(text))


def values(text: str) -> Scraped:
    """Return the value of each sample; a scrape that has one twice is refused."""
    samples = [sample for family in families(text) for sample in family.samples]
    scraped = {(each.name, frozenset(each.labels.items())): each.value for each in samples}
    assert len(scraped) == len(samples)
    return scraped


def value(scraped: Scraped, name: str, **labels: str) -> float | None:
    """Return a value; `None`: it is absent."""
    return scraped.get((name, frozenset(labels.items())))


_UNITS = "seconds|bytes|ratio"
_NOT_BASE = re.compile(
    "(milli|micro|nano|kilo|mega|giga)(seconds?|bytes?)|minutes?|hours?|days?|percent|bits?"
)
_ABBREVIATED = re.compile("(^|_)(s|ms|us|ns|sec|min|h|kb|mb|gb|b|d)(_|$)")
_TYPES = re.compile("(^|_)(gauge|counter|histogram|summary|untyped)(_|$)")


def lint(families: Mapping[str, Metric]) -> list[str]:
    """Return what ``promtool check metrics`` would complain of, and a unit that is not last."""
    problems = []
    for name, family in families.items():
        is_counter = family.type == "counter"
        bare = name.removesuffix("_total")
        rules = {
            "no help text": not family.documentation,
            "camelCase": name != name.lower(),
            "a colon": ":" in name,
            "a type in the name": bool(_TYPES.search(name)),
            "no base unit": bool(_NOT_BASE.search(name)),
            "an abbreviated unit": bool(_ABBREVIATED.search(name)),
            "a unit that is not last": bool(re.search(f"_({_UNITS})_", bare)),
            "_total of no counter, or a counter without": is_counter != name.endswith("_total"),
            "a suffix of histograms": bool(re.search("_(count|sum|bucket)$", name)),
            "a reserved label": any(
                {"le", "quantile", "__name__"} & each.labels.keys() for each in family.samples
            ),
        }
        problems += [f"{name}: {problem}" for problem, is_broken in rules.items() if is_broken]
    return problems
