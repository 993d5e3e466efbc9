"""How far output may run ahead of its reader."""

import re
from importlib import resources

import pytest

from pve402.hub import errors
from pve402.hub.credit import WINDOW, Credit

PIECE = WINDOW // 8


def test_the_agent_knows_the_same_window() -> None:
    agent = resources.files("pve402.hub").joinpath("guest/agent.sh").read_text("utf-8")
    assert re.search(rf"^W={WINDOW}$", agent, re.MULTILINE)


def test_the_limit_rises_with_what_was_read_in_large_steps() -> None:
    credit = Credit()
    for _ in range(8):
        credit.arrived(3, PIECE)
    assert [credit.read(3) for _ in range(5)] == [None] * 3 + [WINDOW + 4 * PIECE, None]
    assert [credit.read(1) for _ in range(9)][-1] == WINDOW + 8 * PIECE


def test_parts_of_a_piece_count_once_it_is_whole() -> None:
    credit = Credit()
    credit.arrived(4, WINDOW)
    assert [credit.read(1) for _ in range(4)] == [None, None, None, 2 * WINDOW]


def test_a_guest_that_goes_on_without_credit_is_found_out() -> None:
    credit = Credit()
    for _ in range(8):
        credit.arrived(3, PIECE)
    with pytest.raises(errors.OutputDamaged):
        credit.arrived(3, PIECE)
