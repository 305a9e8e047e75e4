"""Elements: text is never markup, in contents and in attributes."""

from __future__ import annotations

from tasktools.reports.html import Html, fragment, lines, tag

HOSTILE = "</p><script>alert(1)</script>\u202e\x00\" onload='x'"


def test_text_is_escaped_and_markup_of_ours_is_not() -> None:
    assert tag("p", "a < b & c", tag("b", "d")) == "<p>a &lt; b &amp; c<b>d</b></p>"
    inner = tag("p", HOSTILE)
    assert inner.count("<") == 2
    assert "\\u202e\\x00" in inner


def test_an_attribute_cannot_be_left() -> None:
    element = tag("g", class_=HOSTILE)
    assert element.count("<") == 2
    assert element.count('"') == 2
    assert "'" not in element


def test_markup_that_is_joined_to_a_text_is_a_text_again() -> None:
    mixed = tag("b", "x") + HOSTILE
    assert type(mixed) is str
    assert fragment(mixed).startswith("&lt;b&gt;x")


def test_lines_stay_lines_and_all_else_is_escaped() -> None:
    assert lines("a\n<b>\r\x1b") == "a\n&lt;b&gt;\\r\\x1b"


def test_an_attribute_without_a_value_is_left_out() -> None:
    assert tag("p", hidden=False, title=None) == "<p></p>"
    assert tag("p", hidden=True, tabindex=0) == '<p hidden tabindex="0"></p>'


def test_elements_of_a_list_are_taken_one_by_one() -> None:
    assert tag("ul", (tag("li", str(n)) for n in range(2))) == "<ul><li>0</li><li>1</li></ul>"
    assert isinstance(tag("ul", [Html()]), Html)
