"""A form for the arguments of a function: its fields, and what was entered into them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Never

FieldKind = Literal["text", "integer", "number", "flag", "json"]
Entered = str | bool
"""What a field holds: text, or for a flag whether it is ticked."""

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
    """One argument: how it is entered, and what is there at first.

    A field that is not required and was not changed is left out: the function has its default.
    """

    name: str
    kind: FieldKind
    required: bool
    default: Entered
    hint: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one task; `problems` says in words why they are none yet."""

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    problems: tuple[str, ...] = ()


def fields_of(signature: inspect.Signature) -> tuple[Field, ...]:
    """Return a field for each parameter of *signature*, in its order."""
    return tuple(map(_field, signature.parameters.values()))


def _field(parameter: inspect.Parameter) -> Field:
    if parameter.kind in _SPREAD:
        stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
        nothing = json.dumps(_SPREAD[parameter.kind]())
        hint = f"{stars}{parameter.name}, as JSON"
        return Field(parameter.name, "json", required=False, default=nothing, hint=hint)
    kind = _KINDS.get(_annotation(parameter), "json")
    required = parameter.default is inspect.Parameter.empty
    default = _shown(kind, None if required else parameter.default)
    return Field(parameter.name, kind, required, default, _hint(parameter, kind))


def _shown(kind: FieldKind, value: Any) -> Entered:
    if kind == "flag":
        return value is True
    if kind == "text":
        return value if isinstance(value, str) else ""
    try:
        return "" if value is None else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return ""


def _hint(parameter: inspect.Parameter, kind: FieldKind) -> str:
    told = _annotation(parameter)
    return ", ".join(part for part in (told, "as JSON" if kind == "json" else "") if part)


def _annotation(parameter: inspect.Parameter) -> str:
    """Return the annotation as text, which it is already where its module postpones them."""
    told = parameter.annotation
    if told is inspect.Parameter.empty:
        return ""
    return told if isinstance(told, str) else inspect.formatannotation(told)


def from_form(signature: inspect.Signature, entered: Mapping[str, Entered]) -> Arguments:
    """Return the arguments that were *entered* into the fields of *signature*, by name."""
    given: dict[str, Any] = {}
    problems = []
    for field in fields_of(signature):
        parameter = signature.parameters[field.name]
        now = entered.get(field.name, field.default)
        if _is_left_out(field, now):
            continue
        try:
            given[field.name] = _value(field, now, _SPREAD.get(parameter.kind))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        return Arguments(problems=tuple(problems))
    return _arranged(signature, given)


def _is_left_out(field: Field, entered: Entered) -> bool:
    # Nothing is no number and no JSON, so an emptied field of these means the default as well.
    emptied = entered == "" and field.kind != "text"
    return not field.required and (entered == field.default or emptied)


def _value(field: Field, entered: Entered, wanted: type | None) -> Any:
    if isinstance(entered, bool):
        return entered
    if field.required and not entered.strip():
        raise ValueError(f"The argument {field.name!r} is missing.")
    match field.kind:
        case "integer" | "number":
            return _number(field, entered)
        case "json":
            return parse(entered, f"The argument {field.name!r}", wanted)
        case _:
            return entered


def _number(field: Field, entered: str) -> int | float:
    try:
        number = json.loads(entered.strip(), parse_constant=_refuse)
    except ValueError:
        number = None
    types = int if field.kind == "integer" else (int, float)
    if isinstance(number, bool) or not isinstance(number, types):
        what = f"The argument {field.name!r} is {entered!r}, not {_NAMES[field.kind]}."
        raise ValueError(what)  # noqa: TRY004 - nobody passed a wrong type
    result: int | float = number
    return result


def _arranged(signature: inspect.Signature, given: dict[str, Any]) -> Arguments:
    """Put *given* into args and kwargs: by name where that can be, since names can be read."""
    parameters = signature.parameters.values()
    by_position = [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    rest: list[Any] = []
    kwargs = dict(given)
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            kwargs |= kwargs.pop(parameter.name, {})
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            rest = kwargs.pop(parameter.name, [])
    if rest:
        by_position += [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    # One that is left out would give its place to the next: so all up to the last given are there.
    while not rest and by_position and by_position[-1].name not in given:
        by_position.pop()
    args = [kwargs.pop(p.name, p.default) for p in by_position]
    return Arguments([*args, *rest], kwargs)


def from_json(args: str, kwargs: str, signature: inspect.Signature | None) -> Arguments:
    """Return the arguments in two JSON texts, checked against *signature* when it is known."""
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
    """Return the JSON value in *text*; raises `ValueError`, a sentence that says where it is wrong.

    *wanted* is list or dict, or `None` for any value.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{name} is not JSON: {error.msg} at {where}.") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON: {error}.") from None
    if wanted is not None and not isinstance(value, wanted):
        raise ValueError(f"{name} is no JSON {_JSON_NAMES[wanted]}.")
    return value


def _refuse(constant: str) -> Never:
    raise ValueError(f"JSON has no {constant}")
