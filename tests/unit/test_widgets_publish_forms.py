"""The form of a function: its fields, and what becomes of what is entered."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tasktools.widgets.publish.forms import Arguments, fields_of, from_form, from_json


def send(
    to: str, retries: int, ratio: float = 0.5, *, urgent: bool = False, tags: Any = None
) -> None: ...


def spread(first: int, *rest: int, **more: int) -> None: ...


def placed(a: int, b: int = 2, /, c: int = 3) -> None: ...


def entered(function: Callable[..., Any], **values: str | bool) -> Arguments:
    return from_form(inspect.signature(function), values)


def test_each_parameter_is_a_field_of_its_kind() -> None:
    fields = {field.name: field for field in fields_of(inspect.signature(send))}
    assert [(f.kind, f.required, f.default) for f in fields.values()] == [
        ("text", True, ""),
        ("integer", True, ""),
        ("number", False, "0.5"),
        ("flag", False, False),
        ("json", False, ""),
    ]
    assert fields["tags"].hint == "Any, as JSON"


def test_annotations_may_be_types_as_well_as_their_names() -> None:
    parameters = [
        inspect.Parameter("n", inspect.Parameter.KEYWORD_ONLY, annotation=kind)
        for kind in (int, "int")
    ]
    kinds = {fields_of(inspect.Signature([parameter]))[0].kind for parameter in parameters}
    assert kinds == {"integer"}


def test_arguments_are_passed_by_name_and_what_was_not_changed_is_left_out() -> None:
    assert entered(send, to="a@b", retries="3", ratio="0.5") == Arguments(
        [], {"to": "a@b", "retries": 3}
    )
    assert entered(send, to="a@b", retries="3", ratio="1", urgent=True, tags='["x"]') == Arguments(
        [], {"to": "a@b", "retries": 3, "ratio": 1, "urgent": True, "tags": ["x"]}
    )


def test_a_default_that_is_no_json_is_left_to_the_function() -> None:
    def odd(when: object = object()) -> None: ...

    (field,) = fields_of(inspect.signature(odd))
    assert (field.default, field.required) == ("", False)
    assert entered(odd) == Arguments([], {})


def test_an_emptied_text_is_a_text_and_an_emptied_number_is_the_default() -> None:
    def styled(style: str = "plain", size: int = 3) -> None: ...

    assert entered(styled, style="", size="") == Arguments([], {"style": ""})


def test_a_flag_without_a_default_is_always_sent() -> None:
    def switch(*, on: bool) -> None: ...

    assert entered(switch) == Arguments([], {"on": False})


def test_spread_parameters_are_json_and_further_positions_need_all_before_them() -> None:
    assert entered(spread, first="1") == Arguments([], {"first": 1})
    assert entered(spread, first="1", rest="[2, 3]", more='{"x": 4}') == Arguments(
        [1, 2, 3], {"x": 4}
    )
    assert entered(spread, first="1", rest="{}").problems == (
        "The argument 'rest' is no JSON array, like [1, 2].",
    )


def test_positions_that_have_no_name_are_passed_in_place() -> None:
    assert entered(placed, a="1") == Arguments([1], {})
    assert entered(placed, a="1", b="7", c="8") == Arguments([1, 7], {"c": 8})

    def gap(a: int = 1, b: int = 2, /) -> None: ...

    assert entered(gap, b="7") == Arguments([1, 7], {})


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"retries": "1"}, "The argument 'to' is missing."),
        ({"to": "  ", "retries": "1"}, "The argument 'to' is missing."),
        ({"to": "x", "retries": "1.5"}, "The argument 'retries' is '1.5', not a whole number."),
        ({"to": "x", "retries": "true"}, "The argument 'retries' is 'true', not a whole number."),
        (
            {"to": "x", "retries": "1", "ratio": "NaN"},
            "The argument 'ratio' is 'NaN', not a number.",
        ),
        (
            {"to": "x", "retries": "1", "tags": "[1,\n 2"},
            "The argument 'tags' is not JSON: Expecting ',' delimiter at line 2, column 3.",
        ),
    ],
)
def test_what_is_wrong_is_told_in_words(values: dict[str, str], problem: str) -> None:
    assert entered(send, **values).problems == (problem,)


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ("[1", "{}", "args is not JSON: Expecting ',' delimiter at line 1, column 3"),
        ("[]", '{\n"to": }', "kwargs is not JSON: Expecting value at line 2, column 7"),
        ("{}", "{}", "args is no JSON array"),
        ("[]", "[]", "kwargs is no JSON object"),
        ("[NaN]", "{}", "args is not JSON: JSON has no NaN"),
        ("[" * 100_000, "{}", "args is not JSON"),
        ("[]", '{"n": ' + "9" * 5000 + "}", "kwargs is not JSON: Exceeds the limit"),
    ],
)
def test_json_that_is_none_is_told_with_its_place(args: str, kwargs: str, problem: str) -> None:
    (message,) = from_json(args, kwargs, None).problems
    assert problem in message


def test_json_is_checked_against_the_signature() -> None:
    signature = inspect.signature(send)
    assert from_json('["a@b"]', '{"retries": 1}', signature) == Arguments(["a@b"], {"retries": 1})
    assert from_json("[]", '{"to": "a@b"}', signature).problems == (
        "The arguments do not fit the function: missing a required argument: 'retries'.",
    )
    assert from_json("", "", None) == Arguments([], {})
