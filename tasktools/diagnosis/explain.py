"""`tt.explain`: the values that failed tasks have more often than others do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from tasktools.core.frames.build import frame_from
from tasktools.core.frames.schemas import EXPLANATIONS
from tasktools.core.plurals import counted
from tasktools.core.suggestions import did_you_mean
from tasktools.diagnosis import exact_tests
from tasktools.diagnosis.field_values import NOT_KNOWN, Field, FieldReader, with_not_known
from tasktools.diagnosis.task_rows import TaskRows, is_in, one_row_a_task

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Counts = exact_tests.Counts

_MIN_FAILURES: Final = 5  # of a value
_MAX_SINGLES: Final = 25  # of which pairs are made
_SINGLES_COMPARED: Final = 100  # before copies are left out
_MAX_STRATA: Final = 4  # rows that a further one is stratified by
_SAME_SHARE: Final = 0.98  # of the rows of either, from which on two values are the same
_MAX_ROWS: Final = 200
_KEPT_ATTRS: Final = ("cluster", "demo")


class _Value(NamedTuple):
    """A value of a field, or a pair of values: its counts, and its rank."""

    parts: tuple[tuple[int, int], ...]  # numbers of field and value
    hits: int
    rows: int
    g2: float
    ln_p: float  # corrected


class _Singles(NamedTuple):
    """All values that are tested: numbers of field and value, counts, and G²."""

    fields: Counts
    codes: Counts
    hits: Counts
    rows: Counts
    g2: exact_tests.Floats


class _Answer(NamedTuple):
    value: _Value
    explained_by: str | None
    same_as: str | None


def explain(
    failed: pd.DataFrame,
    succeeded: pd.DataFrame,
    fields: Sequence[str] | None = None,
    level: float = 0.01,
) -> pd.DataFrame:
    """Return what failed tasks have in common that others do not.

    Each value of each field (topic, worker, host, arguments, …) is tested: do tasks with it fail
    more often than chance allows? The strongest significant value comes first. Below it are
    combinations of two values that are stronger than either, other values of the same rows
    (`same_as`), and values that only follow from a row above (`explained_by`). A row is a hint
    where to look, not a proof of a cause.

    Parameters
    ----------
    failed
        The failed tasks, as of `Cluster.tasks`, `Cluster.failures` or `Cluster.dead_letters`.
        Several rows with one ``task_id`` count once, as the last of them.
    succeeded
        Tasks to compare with, or a sample of them, with the same columns; a task that is also in
        *failed* counts as failed. `Cluster.tasks` has both.
    fields
        Columns, or paths in them (``"kwargs.to"``, ``"args[0]"``, ``"started_at.hour"``); by
        default all that both frames have except columns that follow from the outcome of a task.
    level
        Probability of any row in the frame if no field is related to failing, for the whole frame,
        whatever the number of fields and values.

    Returns
    -------
    pandas.DataFrame
        One row a value or pair of values (schema `EXPLANATIONS`). ``attrs["tests"]``: how many
        values and pairs were tested, ``attrs["skipped"]``: the fields that were not, and why,
        ``attrs["notes"]``.

    Raises
    ------
    ValueError
        *level* is not between 0 and 1, no frame has one of *fields*, or *failed* or *succeeded* is
        not a frame, or has two columns of the same name.

    Notes
    -----
    One-sided hypergeometric tail (Fisher), times the number of values that could be significant at
    all (Tarone 1990, *A modified Bonferroni method for discrete data*); ranked by G², the
    likelihood ratio; interval of the risk ratio by Katz (1978), of the difference by Newcombe
    (1998, method 10); `explained_by` by Mantel and Haenszel (1959), within up to four rows above.

    Examples
    --------
    >>> import pandas as pd
    >>> import tasktools as tt
    >>> hosts = ["a", "b", "c", "d"] * 50
    >>> tasks = pd.DataFrame({"task_id": [f"t{n}" for n in range(200)], "host": hosts})
    >>> tasks["kwargs"] = [{"to": f"shop-{n % 7}"} for n in range(200)]
    >>> is_failed = (tasks["host"] == "b") & (tasks.index % 3 > 0)
    >>> rows = tt.explain(tasks[is_failed], tasks[~is_failed])
    >>> rows[["field", "value", "failed", "rows"]]
    explanations: 1 row
       field  value  failed  rows
    0  host   b          34    50

    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level!r}, not between 0 and 1; nothing was compared.")
    if fields is not None:
        fields = [fields] if isinstance(fields, str) else list(map(str, fields))
    for name, frame in (("failed", failed), ("succeeded", succeeded)):
        _check_frame(name, frame)
    tasks = one_row_a_task(failed, succeeded, fields)
    reader = FieldReader(
        len(tasks.is_failed), lambda path: fields is None or any(is_in(path, f) for f in fields)
    )
    read: list[Field] = []
    for name, column in tasks.columns.items():
        is_unknown = tasks.unknown(name)
        read += (
            field if is_unknown is None else with_not_known(field, is_unknown)
            for field in reader.read(name, column)
        )
    skipped = tasks.skipped | reader.skipped
    shared = {str(name) for name in failed.columns if name in succeeded.columns}
    _check_fields(fields, {field.name for field in read} | skipped.keys(), shared)
    search = _Search(tasks.is_failed, read, level)
    answers = list(search.answers())
    attrs: dict[str, Any] = {
        name: failed.attrs[name] for name in _KEPT_ATTRS if name in failed.attrs
    }
    attrs |= {"tests": search.tests, "skipped": skipped}
    attrs["notes"] = [*tasks.notes, *_not_known(tasks), *_notes(tasks, search, answers, level)]
    return frame_from(EXPLANATIONS, [search.row(answer) for answer in answers], **attrs)


def _check_frame(name: str, frame: pd.DataFrame) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(  # noqa: TRY004 - whatever cannot be compared is one error
            f"{name} is a {type(frame).__name__}, not a frame of tasks as cluster.tasks() returns "
            "it; nothing was compared."
        )
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ValueError(
            f"{name} has two columns {twice!r}, so that a value of a task is not clear; nothing "
            "was compared. Rename one or leave it out."
        )


def _check_fields(fields: Sequence[str] | None, known: set[str], shared: set[str]) -> None:
    known |= shared
    for name in fields or ():
        if not any(is_in(path, name) for path in known):
            raise ValueError(
                f"No field {name!r} is in both frames; nothing was compared. Known are "
                f"{', '.join(sorted(known)) or 'none'}. {did_you_mean(name, known)}".rstrip()
            )


def _not_known(tasks: TaskRows) -> Iterator[str]:
    """Yield a note on the columns that are not known for some tasks: a missing value is no
    evidence."""
    parts = []
    for name in tasks.columns:
        is_unknown = tasks.unknown(name)
        if is_unknown is not None:
            failed = int((is_unknown & tasks.is_failed).sum())
            parts.append(f"{name} of {failed:,} failed and {is_unknown.sum() - failed:,} others")
    if parts:
        yield f"not known, and so not compared: {', '.join(parts)}"


def _notes(
    tasks: TaskRows, search: _Search, answers: Sequence[_Answer], level: float
) -> Iterator[str]:
    failures = int(tasks.is_failed.sum())
    others = len(tasks.is_failed) - failures
    if failures < _MIN_FAILURES or not others:
        yield (
            f"{counted(failures, 'failed task')} and {others:,} others are too few: it takes "
            f"{_MIN_FAILURES} failed ones, and others to compare them with"
        )
    elif not answers:
        yield (
            f"of {counted(search.tests['values'], 'value')} none is more frequent among "
            f"{counted(failures, 'failed task')} than chance allows (level {level:g})"
        )
    if search.left_off:
        yield f"{counted(search.left_off, 'weaker row', 'were')} left off"


class _Search:
    """The significant values, strongest first, and how they depend on each other."""

    def __init__(self, is_failed: Mask, fields: Sequence[Field], level: float) -> None:
        self.left_off = 0
        self._is_failed = is_failed
        self._fields = fields
        self._ln_level = math.log(level)
        self._total = len(is_failed)
        self._failed = int(is_failed.sum())
        self._tail = exact_tests.HypergeometricTail(self._total)
        self._ln_factor = 0.0
        self.tests = {"values": 0, "factor": 1, "pairs": 0}
        """Numbers of values and pairs tested, and the factor that corrected p of a value."""
        self._level = level

    # --- what is tested -------------------------------------------------------------------

    def answers(self) -> Iterator[_Answer]:
        """Yield the rows of the answer: each cause with its copies, then the values that causes
        explain."""
        if not 0 < self._failed < self._total:
            return
        singles = self._tested()
        values = [*self._passing(singles), *self._pairs(singles)]
        # Of two with the same rows the simpler one comes first, then that of the first field.
        values.sort(key=lambda value: (-value.g2, len(value.parts), value.parts))
        self.left_off = max(len(values) - _MAX_ROWS, 0)
        causes, explained = self._downwards(values[:_MAX_ROWS])
        for cause in causes:
            yield from cause
        yield from explained

    def _tested(self) -> _Singles:
        """Return counts and G² of all values that have enough rows and are not in all rows."""
        seen: set[tuple[str, str]] = set()
        parts: list[tuple[Counts, Counts, Counts, Counts]] = []
        for number, field in enumerate(self._fields):
            rows = np.bincount(field.codes, minlength=len(field.labels))
            hits = np.bincount(field.codes[self._is_failed], minlength=len(field.labels))
            codes = np.flatnonzero((rows >= _MIN_FAILURES) & (rows < self._total))
            # A number is read twice, as itself and in a bin: its missing values are the same.
            names = [(field.name, field.labels[code]) for code in codes.tolist()]
            is_new = [name not in seen and name[1] != NOT_KNOWN for name in names]
            seen.update(names)
            codes = codes[np.array(is_new, dtype=bool)]
            parts.append((np.full(len(codes), number), codes, hits[codes], rows[codes]))
        empty = np.array([], dtype=np.int64)
        numbers, codes, hits, rows = (
            np.concatenate([empty, *arrays]) for arrays in ([*zip(*parts, strict=True)] or [()] * 4)
        )
        g2 = exact_tests.signed_g2(hits, rows, self._failed, self._total)
        return _Singles(numbers, codes, hits, rows, g2)

    def _passing(self, singles: _Singles) -> Iterator[_Value]:
        """Yield the single values that are significant."""
        least = self._tail.ln_least(singles.rows, self._failed)
        factor = exact_tests.tarone(least, self._level)
        self.tests |= {"values": len(singles.rows), "factor": factor}
        self._ln_factor = math.log(factor)
        tried = np.flatnonzero((singles.hits >= _MIN_FAILURES) & (singles.g2 > 0))
        ln_p = self._tail.ln_p(singles.hits[tried], singles.rows[tried], self._failed)
        for at, value in zip(tried, ln_p + self._ln_factor, strict=True):
            if value <= self._ln_level:
                part = (int(singles.fields[at]), int(singles.codes[at]))
                counts = int(singles.hits[at]), int(singles.rows[at])
                yield _Value((part,), *counts, float(singles.g2[at]), float(value))

    def _pairs(self, singles: _Singles) -> Iterator[_Value]:
        """Yield the significant pairs in which each value matters within the other's rows."""
        chosen, masks = self._strongest(singles)
        count = len(singles.rows)
        pairs = count * (count - 1) // 2
        self.tests["pairs"] = pairs
        if len(chosen) < 2:
            return
        rows = _common(masks, masks)
        hits = _common(masks[:, self._is_failed], masks[:, self._is_failed])
        names = np.array([self._fields[singles.fields[at]].name for at in chosen])
        first, second = np.nonzero(np.triu(names[:, None] != names[None, :], 1))
        both_rows, both_hits = rows[first, second], hits[first, second]
        g2 = exact_tests.signed_g2(both_hits, both_rows, self._failed, self._total)
        strongest = singles.g2[chosen]
        is_tried = (both_hits >= _MIN_FAILURES) & (both_rows > 0)
        is_tried &= (g2 > strongest[first]) & (g2 > strongest[second])
        for at in np.flatnonzero(is_tried):
            one_row, one_hit = both_rows[at : at + 1], both_hits[at : at + 1]
            ln_p = [self._tail.ln_p(one_hit, one_row, self._failed)[0]]
            for part in (first[at], second[at]):  # the other one, within the rows of this
                within = int(hits[part, part]), int(rows[part, part])
                ln_p.append(self._tail.ln_p(one_hit, one_row, *within)[0])
            corrected = max(ln_p) + math.log(pairs)
            if corrected <= self._ln_level:
                places = sorted((int(chosen[first[at]]), int(chosen[second[at]])))
                parts = tuple((int(singles.fields[n]), int(singles.codes[n])) for n in places)
                p = float(ln_p[0]) + math.log(pairs)
                yield _Value(parts, int(both_hits[at]), int(both_rows[at]), float(g2[at]), p)

    def _strongest(self, singles: _Singles) -> tuple[Counts, Mask]:
        """Return the positions of the strongest values, and the rows of each. Of values with nearly
        the same rows, only the strongest is returned."""
        order = np.argsort(-singles.g2, kind="stable")[:_SINGLES_COMPARED]
        order = order[(singles.g2[order] > 0) & (singles.hits[order] >= _MIN_FAILURES)]
        chosen: list[int] = []
        masks: list[Mask] = []
        for at in order:
            mask = self._mask(((int(singles.fields[at]), int(singles.codes[at])),))
            if not any(_is_same(mask, other) for other in masks):
                chosen.append(int(at))
                masks.append(mask)
                if len(chosen) == _MAX_SINGLES:
                    break
        return np.array(chosen, dtype=np.int64), np.array(masks, dtype=bool)

    # --- how they depend on each other ------------------------------------------------------

    def _downwards(self, values: Sequence[_Value]) -> tuple[list[list[_Answer]], list[_Answer]]:
        """Go through *values*, the strongest first. Return each cause, with values of the same rows
        as its copies; and the values that causes explain."""
        causes: list[list[_Answer]] = []
        masks: list[Mask] = []
        explained: list[_Answer] = []
        for value in values:
            mask = self._mask(value.parts)
            same = next((n for n, other in enumerate(masks) if _is_same(mask, other)), None)
            if same is not None:
                name = self._name(causes[same][0].value)
                causes[same].append(_Answer(value, None, name))
                continue
            above = list(range(min(len(masks), _MAX_STRATA)))
            if masks and not self._matters(mask, [masks[n] for n in above]):
                alone = [n for n in above if not self._matters(mask, [masks[n]])][:1] or above
                names = " and ".join(self._name(causes[n][0].value) for n in alone)
                explained.append(_Answer(value, names, None))
                continue
            causes.append([_Answer(value, None, None)])
            masks.append(mask)
        return causes, explained

    def _matters(self, mask: Mask, strata: Sequence[Mask]) -> bool:
        """Whether rows of *mask* fail more often than others of the same *strata*."""
        places = np.zeros(self._total, dtype=np.uint8)
        for number, stratum in enumerate(strata):
            places |= stratum.astype(np.uint8) << number
        count = 2 ** len(strata)
        failed = self._is_failed
        tables = (
            np.bincount(places[rows], minlength=count)
            for rows in (mask & failed, mask, failed, slice(None))
        )
        return exact_tests.mantel_haenszel(*tables) + self._ln_factor <= self._ln_level

    # --- rows ---------------------------------------------------------------------------------

    def row(self, answer: _Answer) -> tuple[Any, ...]:
        """Return the values of a row of the frame."""
        value = answer.value
        counts = value.hits, value.rows, self._failed, self._total
        (field, text), *others = map(self._words, value.parts)
        return (
            *(field, text, *(others[0] if others else (None, None))),
            value.hits,
            value.rows,
            value.hits / self._failed,
            (value.rows - value.hits) / (self._total - self._failed),
            *exact_tests.risk_ratio(*counts),
            *exact_tests.risk_difference(*counts),
            exact_tests.odds_ratio(*counts),
            min(math.exp(value.ln_p), 1.0),
            answer.explained_by,
            answer.same_as,
        )

    def _mask(self, parts: Sequence[tuple[int, int]]) -> Mask:
        mask = np.ones(self._total, dtype=bool)
        for field, code in parts:
            mask &= self._fields[field].codes == code
        return mask

    def _name(self, value: _Value) -> str:
        return " & ".join(f"{field}={text}" for field, text in map(self._words, value.parts))

    def _words(self, part: tuple[int, int]) -> tuple[str, str]:
        field = self._fields[part[0]]
        return field.name, field.labels[part[1]]


def _common(masks: Mask, others: Mask) -> Counts:
    """Return how many rows each two masks have in common."""
    counts = masks.astype(np.float32) @ others.astype(np.float32).T
    answer: Counts = np.rint(counts).astype(np.int64)
    return answer


def _is_same(mask: Mask, other: Mask) -> bool:
    """Whether nearly all rows of each are rows of the other."""
    rows, others = np.count_nonzero(mask), np.count_nonzero(other)
    if min(rows, others) < _SAME_SHARE * max(rows, others):
        return False
    both = np.count_nonzero(mask & other)
    return bool(both >= _SAME_SHARE * (rows + others - both))
