"""What commands show people of what they did."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.tenant_service import ITEM

from pve402 import schemas
from pve402.cli import calls, holdings, private_image_work, publishing, reinstall_work

AT = datetime(2026, 12, 1, 12, 30, tzinfo=UTC)
URL = "http://127.0.0.1:9"
STOPPED = {**ITEM, "vmStatus": {"status": "stopped"}}
PAUSED = {**STOPPED, "paused": {"since": AT, "until": AT, "minuteUsd": "0.00002"}}
SUSPENDED = {**PAUSED, "suspended": {"reason": "mail", "since": AT, "timeRunsOn": True}}


def answers(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """Let the service answer."""
    monkeypatch.setenv("PVE402_WALLET_KEY", f"0x{1:064x}")
    monkeypatch.setattr(calls, "run", lambda *_: answer)


def test_a_saved_image_is_shown_without_its_token_and_with_the_next_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = schemas.SavedImageAnswer(
        image_id="l1",
        template="private/l1",
        name="tools",
        status="active",
        disk_gb=4,
        minute_usd="0.000016",
        created_at=AT,
        expires_at=AT,
        sku="basic-lxc",
        owner_wallet="0x1",
        message="",
        access_token="pve402_secret",
        network="base-sepolia",
        amount="960",
        transaction=None,
        deletes_at=None,
        source_lease_id=None,
        source_template=None,
        end_reason=None,
    )
    answers(monkeypatch, image)
    options: Any = {"snapshot": None, "max_usd": "1", "without_asking": True, "as_json": False}

    private_image_work.save(URL, None, "web", "tools", 60, **options)

    shown, said = capsys.readouterr()
    assert "pve402_secret" not in shown + said
    assert "pve402 lease --hostname web --sku basic-lxc --disk-gb 4 --template private/l1" in said


@pytest.mark.parametrize(("state", "word"), [("none", "never reinstalled"), ("done", "done")])
def test_how_far_a_reinstallation_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: Any, word: str
) -> None:
    answers(
        monkeypatch,
        schemas.ReinstallAnswer(lease_id="l1", ctid="10001", state=state, expires_at=AT),
    )

    reinstall_work.show(URL, None, "web", as_json=False)

    assert capsys.readouterr().err == f"pve402: {word}; the lease ends 2026-12-01 12:30:00Z\n"


def test_times_of_published_ports_are_told_as_all_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts: Any = {"port": 80, "access": "public", "url": "https://x.test/", "created_at": AT}
    ends, lasts = (schemas.PortItem(**facts, expires_at=until) for until in (AT, None))

    answers(monkeypatch, (ends, None))
    publishing.publish(URL, None, "web", 80, public=True, expires_at=AT, as_json=False)
    answers(monkeypatch, [ends, lasts])
    publishing.show(URL, None, "web", as_json=False)

    shown = capsys.readouterr().out
    assert "expiresAt  2026-12-01 12:30:00Z\n" in shown
    assert "80    public  2026-12-01 12:30:00Z  https" in shown
    assert "80    public  the end of the lease  https" in shown
    assert "T12:30" not in shown


def test_a_list_tells_what_is_paused_or_suspended_from_what_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Service:
        can_sign_in = True

        async def leases(self, *, include_over: bool) -> list[schemas.LeaseItem]:
            found = (ITEM, STOPPED, PAUSED, SUSPENDED)
            return [schemas.LeaseItem.model_validate(one) for one in found]

    monkeypatch.setattr(calls, "run", lambda _, listed: asyncio.run(listed(Service())))

    holdings.show_all(URL, "t" * 20, include_over=False, as_json=False)

    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[2] for row in rows] == ["running", "stopped", "paused", "suspended"]
