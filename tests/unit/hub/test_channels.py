"""What a channel still has to say, by which the chain is nudged."""

import pytest

from pve402.hub import errors
from pve402.hub.channels import Channel
from pve402.hub.request import EventKind


class Nowhere:
    """Takes output and forgets it."""

    def add_output(self, kind: EventKind, data: bytes) -> bool:
        """Forget it."""
        return True

    def finish(self, exit_code: int) -> None:
        """Forget it."""

    def fail(self, error: errors.HubError) -> None:
        """Forget it."""


def channel(**more: object) -> Channel:
    values = {"slot": 0, "generation": 1, "encoding": "base64", "send": lambda *_: None}
    return Channel(sink=Nowhere(), **(values | more))  # type: ignore[arg-type]


def test_a_program_without_stdin_owes_its_end() -> None:
    made = channel()
    assert made.owes
    made.take_piece("o", "0", "4", "QUJD")
    assert made.owes


def test_a_program_that_is_fed_owes_until_it_has_answered() -> None:
    made = channel()
    made.sent_lines = 2
    assert made.owes  # the pipe has not taken them
    made.take_stdin_passed("1")
    made.take_piece("o", "0", "4", "QUJD")
    assert made.owes
    made.take_stdin_passed("2")
    assert made.owes  # it has them, and answers
    made.take_piece("o", "1", "4", "QUJD")
    assert not made.owes
    made.sent_lines = 3
    assert made.owes


def test_a_console_is_told_by_its_echo() -> None:
    assert not channel(is_console=True).owes


@pytest.mark.parametrize("count", ["0", "3", "-1", "x", "", "9" * 30])
def test_stdin_that_was_never_sent_cannot_have_passed(count: str) -> None:
    made = channel()
    made.sent_lines = 2
    with pytest.raises(errors.OutputDamaged):
        made.take_stdin_passed(count)


def test_a_line_whose_passing_got_lost_is_passed_with_the_next() -> None:
    made = channel()
    made.sent_lines = 2
    made.take_stdin_passed("2")
    assert made.passed_lines == 2
