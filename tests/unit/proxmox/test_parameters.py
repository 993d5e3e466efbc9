"""How values are written in paths, forms and property strings."""

from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402.proxmox import answers, errors, parameters, shapes

CALL = answers.Call(method="GET", path="/x")
segment = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text not in {".", ".."}
)


@given(st.lists(segment, min_size=1, max_size=5))
def test_a_path_keeps_its_segments_whatever_is_in_them(segments: list[str]) -> None:
    path = parameters.api_path(*segments)

    assert [unquote(part) for part in path.split("/")[1:]] == segments
    assert not set(path) & set("?#:! \r\n")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "1"),
        (False, "0"),
        (7, "7"),
        ("x", "x"),
        (0.5, "0.5"),
        (Decimal("12.50"), "12.5"),
        (Decimal(100), "100"),
        (Decimal("1E+2"), "100"),
    ],
)
def test_values_are_written_as_proxmox_reads_them(value: parameters.Value, text: str) -> None:
    assert parameters.encode({"name": value}) == {"name": text}


def test_a_value_left_out_is_not_sent() -> None:
    assert parameters.encode({"a": None, "b": ""}) == {"b": ""}


def test_a_property_cannot_bring_another_one() -> None:
    with pytest.raises(ValueError, match="comma"):
        parameters.property_string({"bridge": "vmbr0,firewall=0"})


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        ("0.5", 0.5),
        (" 2 ", 2.0),
        (None, None),
        ("", None),
        ("x", None),
        (True, None),
        ([], None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        (10**400, None),
    ],
)
def test_a_figure_is_a_number_or_nothing(value: Any, number: float | None) -> None:
    assert shapes.optional_number({"cpu": value}, "cpu") == number


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("7", 7), (7.9, 7), (-(2**62), -(2**62)), (True, None), (10**400, None), (None, None)],
)
def test_a_whole_number_is_one_or_nothing(value: Any, number: int | None) -> None:
    assert shapes.optional_whole({"mem": value}, "mem") == number


@pytest.mark.parametrize(
    ("text", "tags"),
    [("", ()), (" ", ()), ("a", ("a",)), ("a;b", ("a", "b")), ("a,b", ("a", "b"))],
)
def test_tags_come_as_one_text(text: str, tags: tuple[str, ...]) -> None:
    assert shapes.tags({"tags": text}) == tags


@pytest.mark.parametrize("data", [None, [], "x", 1])
def test_data_that_is_no_object_is_unexpected(data: object) -> None:
    with pytest.raises(errors.UnexpectedAnswer):
        shapes.as_object(data, CALL)


@pytest.mark.parametrize("data", [None, {}, [1], "x"])
def test_data_that_is_no_list_of_objects_is_unexpected(data: object) -> None:
    with pytest.raises(errors.UnexpectedAnswer):
        shapes.as_rows(data, CALL)
