"""The frame of findings has its schema, and says of which time it is and what is missing."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from tasktools.core.frames.diagnosis_schemas import FINDINGS
from tasktools.core.frames.schema import DTYPES
from tasktools.diagnosis.finding import Row
from tasktools.diagnosis.findings_frame import findings_frame
from tests.unit.diagnosis import facts_factory as make

FULL = Row(
    verdict="found",
    check="no_consumer",
    finding="Nobody consumes bills: 12 messages wait.",
    severity="critical",
    subject_kind="topic",
    subject="bills",
    evidence={"queued": 12},
    against={"subscribers": 0},
    because="queue_full:bills",
    since=make.NOW - 30,
    effect=12.5,
    changed=("worker-1 stopped",),
    remedy="Start a worker.",
    call="cluster.topics()",
    needs=("broker",),
    age=3.0,
)


def test_a_row_becomes_a_row_of_the_schema() -> None:
    frame = findings_frame(
        [FULL, Row(verdict="ruled out", check="beat", finding="-")], make.facts()
    )
    assert dict(frame.dtypes.astype(str)) == {c.name: DTYPES[c.kind] for c in FINDINGS.columns}
    first, second = frame.iloc[0], frame.iloc[1]
    assert first["evidence"] == {"queued": 12}
    assert first["since"] == pd.Timestamp(make.moment(30))
    assert first["effect"] == timedelta(seconds=12.5)
    assert first["changed"] == ["worker-1 stopped"]
    assert first["age"] == timedelta(seconds=3)
    assert second[["severity", "subject", "because", "since", "effect", "age"]].isna().all()


def test_attrs_say_of_which_time_the_facts_are_and_what_is_missing() -> None:
    facts = make.amqp_only(make.facts())
    attrs = findings_frame([], facts).attrs
    assert attrs["window"] == {"since": make.moment(900), "until": make.moment()}
    assert set(attrs["sources"]) == {"events", "broker"}
    assert attrs["notes"] == [f"management not used: {make.NO_TAG}"]
    assert findings_frame([], make.cold(facts)).attrs["window"]["since"] == make.moment(60)
