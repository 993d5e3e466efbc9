"""The commands of operators, all below `pve402 ops`."""

import functools
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pve402.domain import blocklist
from pve402.ops import (
    blocking,
    catalogue,
    draining,
    enforcement,
    history,
    image_commands,
    isolating,
    running,
)
from pve402.ops import doctor as doctors
from pve402.ops import leases as lease_list
from pve402.ops import owed as debts
from pve402.ops import rebuild as rebuilding
from pve402.ops import reconcile as reconciling
from pve402.ops import revenue as revenues
from pve402.ops import who as whose
from pve402.ops.checks import deep as deeply

app = typer.Typer(
    name="pve402 ops",
    help="Commands for operators.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Apply = Annotated[bool, typer.Option("--apply", help="Make the changes; otherwise only show them.")]
LeaseName = Annotated[str, typer.Argument(help="leaseId or ctid.")]
Subject = Annotated[
    str, typer.Argument(help="A wallet (0x...), an address, a range, or * for all wallets.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command()
def doctor(
    *,
    env_file: running.EnvFile = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Make two containers for a minute and send packets.")
    ] = False,
    network: Annotated[
        str | None, typer.Option(help="With --deep: a network on sale.", metavar="NAME")
    ] = None,
    node: Annotated[
        str | None, typer.Option(help="With --deep: the node to use.", metavar="NAME")
    ] = None,
    target: Annotated[
        str, typer.Option(help="With --deep: a server on the internet.", metavar="HOST:PORT")
    ] = "{}:{}".format(*deeply.TARGET),
    mail: Annotated[
        str, typer.Option(help="With --deep: a server that listens on port 25.", metavar="HOST")
    ] = deeply.MAIL,
    private: Annotated[
        list[str] | None,
        typer.Option(help="With --deep: a server in your own network.", metavar="ADDRESS:PORT"),
    ] = None,
) -> None:
    """Check settings, database, Proxmox VE, rights, templates, chain and facilitator.

    With --deep, two containers of our own show what containers can do and what they cannot.
    """
    if not deep:
        running.run(env_file, functools.partial(doctors.examine, env_file=env_file))
        return
    wanted = deeply.Deep(
        network=network,
        node=node,
        target=_place(target),
        mail=mail,
        private=tuple(_address(one) for one in private or ()),
    )
    running.run(
        env_file, functools.partial(doctors.examine_deeply, wanted=wanted), may_be_first=True
    )


@app.command()
def revenue(
    env_file: running.EnvFile = None,
    since_days: Annotated[int, typer.Option(min=1, help="How many days to look back.")] = 30,
    output: Annotated[str, typer.Option(help="table, csv or json.")] = "table",
) -> None:
    """Show earnings: every settled order with its transaction, and the totals.

    A table has the newest 50 orders and all totals; csv and json have every order.
    """
    running.run(
        env_file, revenues.Revenue(since_days=since_days, output=output).show, needs_tables=True
    )


@app.command()
def owed(
    env_file: running.EnvFile = None,
    as_json: AsJson = False,
    paid: Annotated[
        str | None, typer.Option(metavar="TX", help="A transfer that paid a wallet back.")
    ] = None,
    owed_id: Annotated[
        str | None, typer.Option("--id", help="With --paid: only this debt.")
    ] = None,
    reserve: Annotated[
        str | None, typer.Option(metavar="ID", help="An owedId or orderId to pay back.")
    ] = None,
    release: Annotated[
        str | None, typer.Option(metavar="ID", help="A reserved owedId not to pay back.")
    ] = None,
) -> None:
    """Show money that bought nothing: payer, amount, since when, why, tries.

    With --reserve, stop its delivery and redemption, so that you can pay it back; --release undoes
    that. With --paid, close what this transaction paid back; it is read from the chain.
    """
    works: list[running.Work] = []
    if reserve is not None:
        works.append(functools.partial(debts.reserve, name=reserve))
    if release is not None:
        works.append(functools.partial(debts.release, owed_id=release))
    if paid is not None:
        works.append(functools.partial(debts.close, transaction=paid, owed_id=owed_id))
    if len(works) > 1:
        raise typer.BadParameter("--reserve, --release and --paid exclude each other")
    work = works[0] if works else functools.partial(debts.show, as_json=as_json)
    running.run(env_file, work, needs_tables=True)


@app.command()
def leases(env_file: running.EnvFile = None, as_json: AsJson = False) -> None:
    """Show every lease that is not over: its owner, node, end and last error."""
    running.run(env_file, functools.partial(lease_list.show, as_json=as_json), needs_tables=True)


@app.command()
def show(
    subject: Annotated[str, typer.Argument(help="leaseId, ctid, orderId, owedId or transaction.")],
    env_file: running.EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a lease's history: payments, steps, Proxmox tasks and reasons, by time."""
    work = functools.partial(history.show, subject=subject, as_json=as_json)
    running.run(env_file, work, needs_tables=True)


@app.command()
def who(
    address: Annotated[str, typer.Argument(help="IPv4 or IPv6 address of a container.")],
    env_file: running.EnvFile = None,
    at: Annotated[
        str | None, typer.Option(help="A time such as 2026-11-29T08:15:00Z; UTC unless it says.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which lease, wallet and payment had an address, at a time or ever.

    It knows the addresses that this installation assigns from its pools.
    """
    asked = whose.Who(address=address, at=at, as_json=as_json)
    running.run(env_file, asked.run, needs_tables=True)


@app.command()
def suspend(
    name: LeaseName,
    reason: Annotated[str, typer.Option(help="Why; the tenant sees it.")],
    env_file: running.EnvFile = None,
    hold_time: Annotated[
        bool, typer.Option("--hold-time", help="Stop the lease's clock until it is resumed.")
    ] = False,
) -> None:
    """Stop a lease's container; the tenant cannot start, use or renew it until it is resumed.

    Its paid time runs on, unless --hold-time is given.
    """
    work = enforcement.Suspend(name=name, reason=reason, time_held=hold_time)
    running.run(env_file, work.run, needs_tables=True)


@app.command()
def isolate(name: LeaseName, env_file: running.EnvFile = None) -> None:
    """Write the isolation rules of a lease's container, made before its network was isolated."""
    running.run(env_file, functools.partial(isolating.isolate, name=name), needs_tables=True)


@app.command()
def resume(name: LeaseName, env_file: running.EnvFile = None) -> None:
    """Give a suspended lease back to its tenant, and start its container if it ran before."""
    running.run(env_file, functools.partial(enforcement.resume, name=name), needs_tables=True)


@app.command()
def end(name: LeaseName, env_file: running.EnvFile = None, yes: Yes = False) -> None:
    """End a lease at once: destroy its container with all data, without a refund."""
    if not yes:
        typer.confirm(f"Destroy the container of {name} and all its data?", abort=True)
    running.run(env_file, functools.partial(enforcement.end, name=name), needs_tables=True)


@app.command()
def block(
    subject: Subject,
    reason: Annotated[str, typer.Option(help="Why; only operators see it.")] = "",
    env_file: running.EnvFile = None,
) -> None:
    """Sell nothing more to a wallet or a range of addresses; existing leases run on.

    The running service obeys within seconds. `ops suspend` stops a lease.
    """
    work = blocking.Put(subject=subject, effect=blocklist.Effect.BLOCK, reason=reason)
    running.run(env_file, work.run, needs_tables=True)


@app.command()
def allow(
    subject: Subject,
    reason: Annotated[str, typer.Option(help="Why; only operators see it.")] = "",
    env_file: running.EnvFile = None,
) -> None:
    """Sell to a wallet or a range of addresses although a wider rule blocks it."""
    work = blocking.Put(subject=subject, effect=blocklist.Effect.ALLOW, reason=reason)
    running.run(env_file, work.run, needs_tables=True)


@app.command()
def unblock(subject: Subject, env_file: running.EnvFile = None) -> None:
    """Remove the rule of `ops block` or `ops allow` for a subject."""
    running.run(env_file, functools.partial(blocking.remove, subject=subject), needs_tables=True)


@app.command()
def blocks(env_file: running.EnvFile = None, as_json: AsJson = False) -> None:
    """Show all rules of `ops block` and `ops allow`."""
    running.run(env_file, functools.partial(blocking.show, as_json=as_json), needs_tables=True)


@app.command()
def drain(
    node: Annotated[str, typer.Argument(help="Name of the node.")], env_file: running.EnvFile = None
) -> None:
    """Place nothing more on a node, and show what it still holds.

    Its leases run on and can be renewed, but none returns from its grace.
    """
    running.run(env_file, functools.partial(draining.drain, node=node), needs_tables=True)


@app.command()
def undrain(
    node: Annotated[str, typer.Argument(help="Name of the node.")], env_file: running.EnvFile = None
) -> None:
    """Place guests on a drained node again."""
    running.run(env_file, functools.partial(draining.undrain, node=node), needs_tables=True)


app.add_typer(image_commands.app, name="images")
catalogues = typer.Typer(help="What is on sale.", no_args_is_help=True)
app.add_typer(catalogues, name="catalogue")


@catalogues.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="Catalogue; without it, the one of the settings.")
    ] = None,
    env_file: running.EnvFile = None,
) -> None:
    """Check a catalogue before it is put in place, and show what it would change."""
    running.run(env_file, functools.partial(catalogue.check, file=file))


@catalogues.command()
def reload(env_file: running.EnvFile = None) -> None:
    """Put the file of the settings on sale, for all replicas, without a restart.

    A running service does this by itself when its file changes.
    """
    running.run(env_file, catalogue.reload, needs_tables=True)


@app.command()
def reconcile(env_file: running.EnvFile = None, apply: Apply = False) -> None:
    """Show our guests that have no lease; with --apply, stop those that are running."""
    running.run(env_file, reconciling.Reconcile(apply=apply).run, needs_key=True, needs_tables=True)


@app.command()
def rebuild(env_file: running.EnvFile = None, apply: Apply = False) -> None:
    """Rebuild a lost lease table from the guests' signed descriptions.

    Stop the service first. Tenants get new tokens by signing with their wallet.
    """
    running.run(env_file, rebuilding.Rebuild(apply=apply).run, needs_key=True)


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands and return its exit code."""
    try:
        result = app(args=list(arguments), prog_name="pve402 ops", standalone_mode=False)
    except typer.Exit as end:
        return end.exit_code
    except typer.Abort:
        return 130
    except Exception as error:
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            raise
        error.show()
        return int(error.exit_code)
    return result if isinstance(result, int) else 0


def _place(text: str) -> tuple[str, int]:
    """Read HOST:PORT; an IPv6 address stands in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"{text[:80]!r}: give it as HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _address(text: str) -> tuple[str, int]:
    """Read ADDRESS:PORT."""
    host, port = _place(text)
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        raise typer.BadParameter(f"{text[:80]!r}: give it as ADDRESS:PORT") from None
