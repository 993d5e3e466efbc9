"""Exit codes of the tenants' commands, and the money they agree to."""

from decimal import Decimal

import pytest
import typer

from pve402 import client, schemas
from pve402.api.transport import errors as error_table
from pve402.cli import exit_codes, purchases


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client.Refused(402, "insufficient_funds", ""), exit_codes.NOT_PAID),
        (client.Refused(404, "lease_not_found", ""), exit_codes.NOT_ALLOWED),
        (client.Refused(409, "no_capacity", ""), exit_codes.NOT_NOW),
        (client.Refused(503, "order_pending", ""), exit_codes.LATER),
        (client.OutcomeUnknown("wait", "key"), exit_codes.LATER),
        (client.Refused(500, "internal_error", ""), exit_codes.FAILED),
        (client.OverCap(), exit_codes.NOT_PAID),
        (client.KeyNeeded(), exit_codes.USAGE),
        (client.KeyInvalid(), exit_codes.USAGE),
        (client.AddressInvalid(), exit_codes.USAGE),
        (client.TokenInvalid(), exit_codes.USAGE),
        (client.NameAmbiguous(), exit_codes.USAGE),
        (client.NameUnknown(), exit_codes.NOT_ALLOWED),
        (client.FileTooLarge(), exit_codes.USAGE),
        (client.Redirected(), exit_codes.FAILED),
        (client.Refused(410, "lease_over", ""), exit_codes.NOT_ALLOWED),
        (client.ServiceUnreachable(), exit_codes.UNREACHABLE),
        (client.ClientError(), exit_codes.FAILED),
    ],
)
def test_each_failure_has_its_exit_code(error: client.ClientError, code: int):
    assert exit_codes.of(error) == code


@pytest.mark.parametrize("status", sorted(set(error_table.STATUSES.values())))
def test_every_status_of_a_refusal_has_an_exit_code(status: int):
    assert exit_codes.of(client.Refused(status, "some_code", "")) != exit_codes.FAILED


@pytest.mark.parametrize("text", ["0.50", "0", "1e-3", " 2 "])
def test_a_cap_is_a_number(text: str):
    assert purchases.allowed(text) == Decimal(text.strip())


@pytest.mark.parametrize("text", ["much", "", "-1", "nan", "Infinity", "1,50"])
def test_what_is_no_cap_is_wrong_usage(text: str):
    with pytest.raises(typer.Exit) as raised:
        purchases.allowed(text)

    assert raised.value.exit_code == exit_codes.USAGE


@pytest.mark.parametrize(("agreed", "code"), [(True, None), (False, exit_codes.NOT_PAID)])
async def test_who_is_asked_agrees_to_the_very_price(monkeypatch, agreed: bool, code: int | None):
    asked = []
    monkeypatch.setattr(typer, "confirm", lambda text, **_: asked.append(text) or agreed)

    if agreed:
        assert await purchases.agreed(None, _quote("2640")) == Decimal("0.002640")
    else:
        with pytest.raises(typer.Exit) as raised:
            await purchases.agreed(None, _quote("2640"))
        assert raised.value.exit_code == code
    assert asked == ["Pay 0.002640 USD?"]


@pytest.mark.parametrize(
    ("amount", "decimals"),
    [("1e999999999", 6), ("NaN", 6), ("-5", 6), ("", 6), ("9" * 400, 6), ("1", -9), ("1", 10**9)],
)
def test_a_price_that_is_none_is_not_shown(amount: str, decimals: int):
    with pytest.raises(client.UnexpectedAnswer):
        client.prices.offered_usd(_quote(amount, decimals))


def _quote(amount: str, decimals: int = 6) -> schemas.Quote:
    offer = schemas.Offer(
        network="base-sepolia",
        network_id="eip155:84532",
        asset="0x",
        symbol="USDC",
        decimals=decimals,
        amount=amount,
        pay_to="0x",
    )
    return schemas.Quote(
        sku="standard-lxc",
        runtime_minutes=1,
        cores=1,
        memory_mb=1,
        disk_gb=1,
        price_usd="0",
        accepts=[offer],
        available=True,
    )
