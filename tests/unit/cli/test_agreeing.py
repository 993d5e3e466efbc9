"""What loses files is done only if the user agrees."""

from collections.abc import Callable

import pytest
import typer

from pve402 import schemas
from pve402.cli import exit_codes, reinstall_work, snapshot_work, terminal

Work = Callable[[], None]
WHERE = ("http://127.0.0.1:9", "token-of-the-lease", "10001")  # nobody answers there


def reinstall() -> None:
    wanted = schemas.ReinstallRequest()
    reinstall_work.reinstall(*WHERE, wanted, yes=False, as_json=False)


def roll_back() -> None:
    snapshot_work.roll_back(*WHERE, "before", yes=False, as_json=False)


@pytest.mark.parametrize("work", [reinstall, roll_back])
@pytest.mark.parametrize(
    ("can_ask", "code"), [(True, exit_codes.DECLINED), (False, exit_codes.USAGE)]
)
def test_nothing_is_lost_that_nobody_agrees_to(
    monkeypatch: pytest.MonkeyPatch, work: Work, can_ask: bool, code: int
) -> None:
    async def no(question: str) -> bool:
        assert question.endswith("?")
        return False

    monkeypatch.setattr(terminal, "can_ask", lambda: can_ask)
    monkeypatch.setattr(terminal, "confirm", no)

    with pytest.raises(typer.Exit) as ended:
        work()

    assert ended.value.exit_code == code
