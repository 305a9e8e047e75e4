"""Forms for the arguments of a function: fields from its signature, arguments from the input."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from tasktools.core import json_input
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.redaction import DEFAULT, Redaction

FieldKind = Literal["text", "integer", "number", "flag", "json"]
Entered = str | bool
"""The value of a field: text, or whether a flag is ticked."""

_KINDS: Final[Mapping[str, FieldKind]] = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "flag",
}
_NAMES: Final[Mapping[FieldKind, str]] = {"integer": "a whole number", "number": "a number"}
_SPREAD: Final[Mapping[Any, type]] = {
    inspect.Parameter.VAR_POSITIONAL: list,
    inspect.Parameter.VAR_KEYWORD: dict,
}
_JSON_NAMES: Final[Mapping[type, str]] = {list: "array, like [1, 2]", dict: 'object, like {"a": 1}'}


@dataclass(frozen=True, slots=True)
class Field:
    """The field of one argument: its kind, and its initial value.

    A field that is not required and was not changed is left out, so the function uses its
    default. A default that is a secret is not in the field.
    """

    name: str
    kind: FieldKind
    required: bool
    default: Entered
    hint: str


@dataclass(frozen=True, slots=True, repr=False)
class Arguments(MaskedRepr):
    """The arguments of one task; `problems` says in words why they are incomplete or wrong."""

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    problems: tuple[str, ...] = ()


def fields_of(signature: inspect.Signature, redaction: Redaction = DEFAULT) -> tuple[Field, ...]:
    """Return a field for each parameter of *signature*, in its order."""
    return tuple(_field(parameter, redaction) for parameter in signature.parameters.values())


def _field(parameter: inspect.Parameter, redaction: Redaction) -> Field:
    if parameter.kind in _SPREAD:
        stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
        nothing = json.dumps(_SPREAD[parameter.kind]())
        hint = f"{stars}{parameter.name}, as JSON"
        return Field(parameter.name, "json", required=False, default=nothing, hint=hint)
    kind = _KINDS.get(_annotation(parameter), "json")
    required = parameter.default is inspect.Parameter.empty
    default = _shown(kind, None if required else parameter.default)
    is_shown = isinstance(default, bool) or (
        masked(parameter.name, kind, default, redaction) == default
    )
    hint = _hint(parameter, kind, "" if is_shown else "its default is a secret")
    return Field(parameter.name, kind, required, default if is_shown else "", hint)


def masked(name: str, kind: FieldKind, text: str, redaction: Redaction) -> str:
    """Return *text* of the field *name* with a mark instead of each secret."""
    if not text:
        return text
    value = text if kind == "text" else json_input.value_of(text)
    (shown,) = redaction.value({name: value}).values()
    if shown == value:
        return text
    is_json = isinstance(shown, dict | list)
    return json.dumps(shown, ensure_ascii=False, default=str) if is_json else f"{shown}"


def _shown(kind: FieldKind, value: Any) -> Entered:
    if kind == "flag":
        return value is True
    if kind == "text":
        return value if isinstance(value, str) else ""
    try:
        return "" if value is None else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return ""


def _hint(parameter: inspect.Parameter, kind: FieldKind, about_default: str) -> str:
    parts = (_annotation(parameter), "as JSON" if kind == "json" else "", about_default)
    return ", ".join(filter(None, parts))


def _annotation(parameter: inspect.Parameter) -> str:
    """Return the annotation as text; with postponed annotations it is text already."""
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def from_form(
    signature: inspect.Signature, entered: Mapping[str, Entered], redaction: Redaction = DEFAULT
) -> Arguments:
    """Return the arguments from *entered*, the values of the fields of *signature* by name."""
    values: dict[str, Any] = {}
    problems = []
    for field in fields_of(signature, redaction):
        parameter = signature.parameters[field.name]
        now = entered.get(field.name, field.default)
        if _is_left_out(field, now):
            continue
        try:
            values[field.name] = _value(field, now, _SPREAD.get(parameter.kind), redaction)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        return Arguments(problems=tuple(problems))
    return _arranged(signature, values)


def _is_left_out(field: Field, entered: Entered) -> bool:
    # An empty text is neither a number nor JSON, so an emptied field means the default as well.
    emptied = entered == "" and field.kind != "text"
    return not field.required and (entered == field.default or emptied)


def _value(field: Field, entered: Entered, wanted: type | None, redaction: Redaction) -> Any:
    if isinstance(entered, bool):
        return entered
    if field.required and not entered.strip():
        raise ValueError(f"The argument {field.name!r} is missing.")
    match field.kind:
        case "integer" | "number":
            return _number(field, entered, redaction)
        case "json":
            return parse(entered, f"The argument {field.name!r}", wanted)
        case _:
            return entered


def _number(field: Field, entered: str, redaction: Redaction) -> int | float:
    number = json_input.number(entered)
    if number is None or (field.kind == "integer" and not isinstance(number, int)):
        shown = masked(field.name, field.kind, entered, redaction)
        what = f"The argument {field.name!r} is {shown!r}, not {_NAMES[field.kind]}."
        raise ValueError(what)
    return number


def _arranged(signature: inspect.Signature, values: dict[str, Any]) -> Arguments:
    """Put *values* into args and kwargs; by name where possible, since names are readable."""
    parameters = signature.parameters.values()
    by_position = [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    rest: list[Any] = []
    kwargs = dict(values)
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            kwargs |= kwargs.pop(parameter.name, {})
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            rest = kwargs.pop(parameter.name, [])
    if rest:
        by_position += [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    # An omitted one would shift the next ones, so all up to the last entered one are passed.
    while not rest and by_position and by_position[-1].name not in values:
        by_position.pop()
    args = [kwargs.pop(p.name, p.default) for p in by_position]
    return Arguments([*args, *rest], kwargs)


def from_json(args: str, kwargs: str, signature: inspect.Signature | None) -> Arguments:
    """Return the arguments in two JSON texts, checked against *signature* if it is known."""
    problems: list[str] = []
    parsed: list[Any] = []
    for text, name, wanted in ((args, "args", list), (kwargs, "kwargs", dict)):
        try:
            parsed.append(parse(text, name, wanted) if text.strip() else wanted())
        except ValueError as error:
            problems.append(str(error))
    if problems:
        return Arguments(problems=tuple(problems))
    try:
        if signature is not None:
            signature.bind(*parsed[0], **parsed[1])
    except TypeError as error:
        return Arguments(problems=(f"The arguments do not fit the function: {error}.",))
    return Arguments(*parsed)


def parse(text: str, name: str, wanted: type | None) -> Any:
    """Return the JSON value in *text*. *wanted* is list or dict, or `None` for any value.

    Raises `ValueError` with a sentence that says where *text* is wrong.
    """
    try:
        value = json_input.parse(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{name} is not JSON: {error.msg} at {where}.") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON: {error}.") from None
    if wanted is not None and not isinstance(value, wanted):
        raise ValueError(f"{name} is no JSON {_JSON_NAMES[wanted]}.")
    return value
