"""Tasks in a file: what is read, and how what is wrong is told."""

import pytest

from tasktools.cluster import task_file
from tasktools.core.errors import InvalidTask

CSV = """topic,task_name,args,kwargs,headers,priority,ttl,delay
emails,shop:send,"[1, 2]","{""to"": ""a@b""}",,7,1.5,
orders,shop:charge,,,"{""trace"": ""x""}",,,60
"""
LINES = """
{"topic":"emails","task_name":"shop:send","args":[1,2],"priority":7,"kwargs":{"to":"a@b"},"ttl":1.5}

{"topic": "orders", "task_name": "shop:charge", "headers": {"trace": "x"}, "delay": 60}
"""


@pytest.mark.parametrize(
    "text", [CSV, LINES, CSV.replace("\n", "\r\n")], ids=["csv", "json", "crlf"]
)
def test_csv_and_json_lines_say_the_same(text: str) -> None:
    frame = task_file.read(text)

    assert frame["topic"].tolist() == ["emails", "orders"]
    assert frame["args"].tolist() == [[1, 2], None]
    assert frame["kwargs"].tolist() == [{"to": "a@b"}, None]
    assert frame["headers"].tolist() == [None, {"trace": "x"}]
    assert frame["priority"].tolist() == [7, None]
    assert frame["ttl"].tolist() == [1.5, None]
    assert frame["delay"].tolist() == [None, 60]


def test_columns_may_be_left_out_and_stand_in_any_order() -> None:
    frame = task_file.read("task_name,topic\nshop:send,emails\n")

    assert list(frame.columns) == list(task_file.COLUMNS)
    assert frame["topic"].tolist() == ["emails"]


def test_what_is_not_needed_may_be_missing() -> None:
    frame = task_file.read("task_name\nshop:send\n", needed=("task_name",))

    assert frame["topic"].tolist() == [None]
    with pytest.raises(InvalidTask, match=r"Line 2 .* no task_name"):
        task_file.read("topic,task_name\na,\n", needed=("task_name",))


@pytest.mark.parametrize("text", ["", "\n", "topic,task_name\n"])
def test_a_file_without_tasks_has_none(text: str) -> None:
    assert task_file.read(text).empty


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("topic,task_name,kwargs\na,b,{x}\n", "Line 2 .* kwargs is not JSON"),
        ("topic,task_name,kwargs\na,b,[1]\n", "Line 2 .* kwargs that are no JSON object"),
        ("topic,task_name,args\na,b,{}\n", "Line 2 .* args that are no JSON array"),
        ("topic,task_name,priority\na,b,1.5\n", "Line 2 .* priority"),
        ("topic,task_name,priority\na,b,256\n", "Line 2 .* priority"),
        ("topic,task_name,priority\na,b,true\n", "Line 2 .* priority"),
        ("topic,task_name,ttl\na,b,true\n", "Line 2 .* ttl"),
        ('{"topic": "a", "task_name": "b", "delay": "1"}\n', "Line 1 .* delay"),
        ("topic,task_name\na,b,c\n", "Line 2 .* more cells"),
        ("topic,task\na,b\n", "Line 2 .* unknown column task"),
        ("topic,task_name\na,b\n,c\n", "Line 3 .* no topic"),
        ("topic|task_name\na|b\n", r"Line 2 .* unknown column topic\|task_name"),
        ('topic,task_name\na,"b\n', "is not CSV"),
        ('{"topic": "a", "task_name": "b"}\n{"topic": "a"\n', "Line 2 .* not JSON"),
        ('{"topic": "a", "task_name": 5}\n', "Line 1 .* no task_name"),
        ('{"topic": "a", "task_name": "b"}\n[]\n', "Line 2 .* not a JSON object"),
        ('{"topic": "a", "task_name": "b", "x": 1}\n', "unknown column x"),
        ("[" * 100_000, "Line 1 .* not JSON"),
    ],
)
def test_what_makes_no_task_is_told_with_its_line_and_nothing_is_published(
    text: str, why: str
) -> None:
    with pytest.raises(InvalidTask, match=why) as raised:
        task_file.read(text)

    assert str(raised.value).endswith("nothing was published.")


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_cells_may_be_separated_by_semicolons_and_tabs(delimiter: str, start: str) -> None:
    """Issue 11, misleading: CSV with semicolons, as spreadsheets in half of Europe write it."""
    lines = [
        ["topic", " task_name", "args", "kwargs", "ttl"],
        ["emails", "shop:send", '"[1, 2]"', '"{""price"": ""1,5;2""}"', "1.5"],
        ["emails", "shop:send", "", '"{""to"": ""a b""}"', ""],
    ]
    text = start + "\r\n".join(delimiter.join(cells) for cells in lines)
    frame = task_file.read(text)
    assert frame["args"].tolist() == [[1, 2], None]
    assert frame["kwargs"].tolist() == [{"price": "1,5;2"}, {"to": "a b"}]
    assert frame["ttl"].tolist() == [1.5, None]


def test_a_number_with_a_decimal_comma_is_refused_with_what_to_write() -> None:
    """Issue 11, misleading: a spreadsheet that writes semicolons writes 1,5."""
    with pytest.raises(InvalidTask, match=r"Line 2 of the file has ttl '1,5'; write numbers with"):
        task_file.read("topic;task_name;ttl\nemails;shop:send;1,5\n")


@pytest.mark.parametrize("text", ["topic|task_name\nemails|shop:send\n", ";;\n;;\n"])
def test_a_file_with_another_separator_is_refused(text: str) -> None:
    """Issue 11, misleading: a clear error otherwise."""
    with pytest.raises(InvalidTask, match="nothing was published"):
        task_file.read(text)
