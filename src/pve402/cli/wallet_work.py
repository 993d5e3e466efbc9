"""The work of `wallet`: make one, show addresses, balances, what was spent, and the limits."""

import secrets
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from pve402 import client, schemas
from pve402.cli import account_work, calls, credentials, profile, terminal
from pve402.client import chain, ledger, reckoning, spending
from pve402.client.wallet import Wallet

_HEADS: Final = ("when", "USD", "what became of it", "service", "for")
_SHOWN: Final = 20
_WORDS: Final = {
    spending.State.RESERVED: "about to be sent",
    spending.State.SENT: "not known yet",
    spending.State.SETTLED: "paid",
    spending.State.REFUSED: "refused",
    spending.State.RELEASED: "not paid",
}
_NO_LIMIT: Final = "none"


def new(name: str, *, as_json: bool) -> None:
    """Make a wallet."""
    if not profile.NAME.fullmatch(name):
        terminal.misused(f"{client.plain(name, 80)!r} cannot be a name; use letters and digits")
    with terminal.told(), profile.changed() as known:
        if name in known.wallets:
            terminal.misused(f"there is a wallet {name} already")
        made = account_work.save_key(name, "0x" + secrets.token_hex(32))
        known.wallets[name] = made
    if as_json:
        terminal.show_facts({"name": name, **made.model_dump(mode="json")})
        return
    terminal.show_columns([("name", name), ("address", made.address), ("key", made.where)])
    terminal.say("copy the key's file to a safe place: whoever has it owns the money")
    terminal.say("send some USDC to the address, then: `pve402 login URL`")


def show_all(*, as_json: bool) -> None:
    """Show the wallets."""
    with terminal.told():
        known = profile.load()
    if as_json:
        terminal.show_facts(profile.as_json(known)["wallets"])
    elif known.wallets:
        rows = [(name, one.address, one.source, one.where) for name, one in known.wallets.items()]
        terminal.show_columns([("name", "address", "key in", "where"), *rows])
    else:
        terminal.say("there is no wallet yet: run `pve402 wallet new`")


def show_address(url: str, name: str | None, *, as_json: bool) -> None:
    """Show a wallet's address."""
    address = _address(url, name)
    if as_json:
        terminal.show_facts({"address": address})
    else:
        terminal.show_columns([(address,)])


def show_balance(url: str, name: str | None, *, as_json: bool) -> None:
    """Show what the wallet owns on the service's networks."""
    address = _address(url, name)

    async def read(service: client.Client) -> list[dict[str, Any]]:
        networks = (await service.catalogue()).networks
        return [await _balance(network, address) for network in networks]

    found = calls.run(client.Client(url), read)
    if as_json:
        terminal.show_facts({"address": address, "balances": found})
        return
    rows = [
        (one["network"], one["amount"] or "?", one["symbol"], one["problem"] or "") for one in found
    ]
    terminal.show_columns([("network", "amount", "", ""), *rows])


async def _balance(network: schemas.Network, address: str) -> dict[str, Any]:
    """What an address owns of one network's token; the problem if that cannot be read."""
    facts = {"network": client.plain(network.network, 64), "symbol": client.plain(network.symbol)}
    try:
        token = _token(network)
        async with chain.Chain(network.network_id) as where:
            atomic = await where.balance(token["asset"], address)
    except client.ChainUnreadable as error:
        return {**facts, "amount": None, "atomic": None, "problem": str(error)}
    amount = f"{Decimal(atomic).scaleb(-token['decimals']):f}"
    return {**facts, "amount": amount, "atomic": str(atomic), "problem": None}


def _token(network: schemas.Network) -> Any:
    """The token as the payment library knows it, not as the service describes it."""
    from x402.mechanisms.evm.default_assets import find_default_asset

    found = find_default_asset(network.asset, network.network_id)
    if found is None:
        raise client.ChainUnreadable(f"{client.plain(network.asset, 64)}: this token is not known")
    return found


def show_spent(*, as_json: bool) -> None:
    """Settle what is open with the chains, and show what was spent."""
    book = ledger.Ledger()

    async def reckoned(_: client.Client) -> reckoning.Outcome:
        return await reckoning.reckon(book)

    outcome = calls.run(client.Client(profile.LOCAL_URL), reckoned)
    with terminal.told():
        spent, payments = book.spent(), book.payments(most=None if as_json else _SHOWN)
    if as_json:
        terminal.show_facts(_document(spent, payments))
    else:
        _show_spent(spent, payments)
    for problem in outcome.problems:
        terminal.say(f"what became of some payments cannot be seen: {problem}")


def _document(spent: spending.Spent, payments: list[spending.Payment]) -> Any:
    return {
        "lastHourUsd": spending.usd(spent.last_hour_micro_usd),
        "inAllUsd": spending.usd(spent.in_all_micro_usd),
        "openUsd": spending.usd(spent.open_micro_usd),
        "payments": [
            {
                "at": terminal.moment(one.reserved_at),
                "state": one.state.value,
                "usd": spending.usd(one.micro_usd),
                "amountAtomic": str(one.amount_atomic),
                "network": one.network,
                "asset": one.asset,
                "service": one.service,
                "path": one.what,
                "transaction": one.tx_hash or None,
                "purse": one.purse,
            }
            for one in payments
        ],
    }


def _show_spent(spent: spending.Spent, payments: list[spending.Payment]) -> None:
    rows = [
        (
            terminal.moment(one.reserved_at),
            spending.usd(one.micro_usd),
            _WORDS[one.state],
            one.service,
            one.what,
        )
        for one in payments
    ]
    if rows:
        terminal.show_columns([_HEADS, *rows])
    terminal.say(
        f"{spending.usd(spent.in_all_micro_usd)} USD spent in all,"
        f" {spending.usd(spent.last_hour_micro_usd)} of it in the last hour;"
        f" the outcome of {spending.usd(spent.open_micro_usd)} is not known yet"
    )


def limits(
    per_call: str | None, per_hour: str | None, in_all: str | None, *, as_json: bool
) -> None:
    """Change the limits that were given, and show all of them."""
    book = ledger.Ledger()
    with terminal.told():
        kept = book.kept_limits()
        wanted = spending.Limits(
            per_call_micro_usd=micro_usd(per_call, kept.per_call_micro_usd),
            per_hour_micro_usd=micro_usd(per_hour, kept.per_hour_micro_usd),
            in_all_micro_usd=micro_usd(in_all, kept.in_all_micro_usd),
        )
        if wanted != kept or in_all is not None:
            book.keep_limits(wanted, restart=in_all is not None)
    told = {
        "perCallUsd": wanted.per_call_micro_usd,
        "perHourUsd": wanted.per_hour_micro_usd,
        "inAllUsd": wanted.in_all_micro_usd,
    }
    shown = {name: None if one is None else spending.usd(one) for name, one in told.items()}
    if as_json:
        terminal.show_facts(shown)
    else:
        terminal.show_columns([(name, value or _NO_LIMIT) for name, value in shown.items()])


def micro_usd(text: str | None, kept: int | None) -> int | None:
    """Read an amount in USD, in whole millionths; what was kept if none is given."""
    if text is None:
        return kept
    if text.strip().lower() == _NO_LIMIT:
        return None
    try:
        micro_usd = Decimal(text).scaleb(6)
    except InvalidOperation:
        micro_usd = Decimal("NaN")
    if not micro_usd.is_finite() or not 0 <= micro_usd <= ledger.MOST_MICRO_USD:
        terminal.misused(f"give limits in USD, such as 0.50, or {_NO_LIMIT}")
    return int(micro_usd)


def _address(url: str, name: str | None) -> str:
    """The address of a named wallet, or of the one that pays the service."""
    with terminal.told():
        known = profile.load()
        if name is not None:
            if name not in known.wallets:
                terminal.misused(f"there is no wallet {client.plain(name, 80)}")
            return known.wallets[name].address
        if key := credentials.environment_key():
            return Wallet(key).address
        kept = known.wallet_of(url)
        if kept is None:
            terminal.misused("there is no wallet: run `pve402 wallet new`, or give --wallet")
        return kept.address
