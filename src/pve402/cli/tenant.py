"""Tenants' commands: what they buy, hold and are owed. Exit codes: see exit_codes.py.

The wallet's key is never on the command line, which others can see.
Commands import the modules that do the work only when they run, so `--help` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pve402.cli import options
from pve402.cli.options import DEFAULT_URL, AsJson, Cap, Ctid, Minutes, Token, Url, Yes

if TYPE_CHECKING:
    from pve402 import schemas


def add_to(app: typer.Typer) -> None:
    """Add the tenants' commands to the command line."""
    app.command()(catalogue)
    app.command()(quote)
    app.command()(lease)
    app.command()(renew)
    app.command(name="list")(list_leases)
    app.command()(console)
    app.command()(show)
    app.command()(usage)
    app.command()(user_data)
    app.command()(token)
    app.command()(start)
    app.command()(stop)
    app.command()(pause)
    app.command()(reboot)
    app.command(name="inbound")(inbound_rules)
    app.command()(end)
    app.command()(owed)
    app.command()(redeem)


def catalogue(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what is on sale, its prices, and how it can be paid; free."""
    from pve402.cli import shelf

    shelf.show(url, as_json=as_json)


def quote(
    *,
    minutes: Minutes = 60,
    sku: options.Sku = "standard-lxc",
    cores: options.Cores = 1,
    memory_mb: options.Memory = 512,
    disk_gb: options.Disk = 8,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the price of a container, for free."""
    from pve402 import schemas
    from pve402.cli import purchases

    wish = schemas.LeaseRequest(
        sku=sku,
        runtime_minutes=minutes,
        hostname="quote",
        cores=cores,
        memory_mb=memory_mb,
        disk_gb=disk_gb,
    )
    purchases.quote(url, wish, as_json=as_json)


def lease(  # noqa: PLR0913 -- one option each
    *,
    hostname: options.Hostname,
    minutes: Minutes = 60,
    sku: options.Sku = "standard-lxc",
    cores: options.Cores = 1,
    memory_mb: options.Memory = 512,
    disk_gb: options.Disk = 8,
    template: options.Template = None,
    ssh_key: options.SshKeys = None,
    env: options.LeaseEnvironment = None,
    user_data: options.UserData = None,
    user_data_at_once: options.UserDataAtOnce = False,
    wake_on: options.WakeOn = None,
    idle_pause: options.IdlePause = None,
    max_usd: Cap = None,
    yes: options.PayYes = False,
    show_token: Annotated[
        bool, typer.Option("--show-token", help="Show the lease's token, which is kept anyway.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Lease a container and pay for it. Asks before it pays.

    Without --ssh-key it reads the root password from PVE402_ROOT_PASSWORD, or asks for it.
    """
    from pve402.cli import purchases

    wish = _wish(
        minutes=minutes,
        sku=sku,
        hostname=hostname,
        cores=cores,
        memory_mb=memory_mb,
        disk_gb=disk_gb,
        template=template,
        ssh_key=ssh_key,
        env=env,
        user_data=user_data,
        at_once=user_data_at_once,
        wake_on=wake_on or None,
        idle_pause_minutes=idle_pause,
    )
    purchases.lease(
        url, wish, max_usd=max_usd, without_asking=yes, show_token=show_token, as_json=as_json
    )


def renew(
    ctid: Ctid,
    minutes: Minutes = 60,
    max_usd: Cap = None,
    *,
    yes: options.PayYes = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Add minutes to a lease and pay for them. Asks before it pays."""
    from pve402.cli import purchases

    purchases.renew(
        url,
        ctid,
        minutes,
        token=token,
        max_usd=max_usd,
        without_asking=yes,
        as_json=as_json,
    )


def list_leases(
    include_over: Annotated[
        bool, typer.Option("--all", help="Also list leases that are over.")
    ] = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List your leases, for free, with a token or a signature of the wallet."""
    from pve402.cli import holdings

    holdings.show_all(url, token, include_over=include_over, as_json=as_json)


def show(
    ctid: Ctid,
    wait: Annotated[
        int, typer.Option(min=0, max=30, help="Seconds to wait for the container's addresses.")
    ] = 0,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show one lease: its container's state, its addresses, its end."""
    from pve402.cli import holdings

    holdings.show(url, token, ctid, wait, as_json=as_json)


def usage(
    ctid: Ctid,
    timeframe: Annotated[
        str, typer.Option(help="How far back: hour, day, week or month.")
    ] = "hour",
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show what a container used since its lease began: processor, memory, disk, network."""
    from pve402.cli import usage_work

    usage_work.show(url, token, ctid, timeframe, as_json=as_json)


def user_data(
    ctid: Ctid, token: Token = None, url: Url = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Show what became of the script that came with a lease, and the end of its output."""
    from pve402.cli import user_data_work

    user_data_work.show(url, token, ctid, as_json=as_json)


def console(
    ctid: Ctid,
    *,
    screen: Annotated[bool, typer.Option("--screen", help="Its screen, by VNC.")] = False,
    link: Annotated[bool, typer.Option("--link", help="Print the link and open nothing.")] = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Open a container's console in the browser; the link works once, for a short time."""
    from pve402.cli import holdings

    holdings.console(url, token, ctid, is_screen=screen, opens=not link, as_json=as_json)


def token(ctid: Ctid, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Get a new token for a lease with a signature of the wallet; revokes the previous one."""
    from pve402.cli import holdings

    holdings.new_token(url, ctid, as_json=as_json)


def start(ctid: Ctid, token: Token = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Start a lease's container, or wake the lease; does nothing if it is running."""
    from pve402 import client
    from pve402.cli import holdings

    holdings.switch(url, token, ctid, client.Client.start, as_json=as_json)


def stop(ctid: Ctid, token: Token = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Stop a lease's container until you start it; its paid time keeps running."""
    from pve402 import client
    from pve402.cli import holdings

    holdings.switch(url, token, ctid, client.Client.stop, as_json=as_json)


def pause(ctid: Ctid, token: Token = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Stop a lease's container and pay less until you start it, for 30 days at most."""
    from pve402 import client
    from pve402.cli import holdings

    holdings.switch(url, token, ctid, client.Client.pause, as_json=as_json)


def reboot(
    ctid: Ctid, token: Token = None, url: Url = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Reboot a lease's container, or start it if it is stopped."""
    from pve402 import client
    from pve402.cli import holdings

    holdings.switch(url, token, ctid, client.Client.reboot, as_json=as_json)


def inbound_rules(
    *,
    ctid: Ctid,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="Let in [SOURCE=]PROTOCOL/PORTS, such as tcp/22,8000-8100, ping or"
            " 203.0.113.0/24=udp/53; may be repeated."
        ),
    ] = None,
    close: Annotated[bool, typer.Option("--close", help="Let nobody in.")] = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Go back to the network's own choice.")
    ] = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show or choose what reaches a container from outside; replaces what was chosen before.

    A changed rule needs 10 seconds. Open connections go on until the container stops.
    """
    from pve402.cli import inbound_work

    inbound_work.run(url, token, ctid, allow=allow, close=close, reset=reset, as_json=as_json)


def end(
    ctid: Ctid,
    yes: Yes = False,
    token: Token = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """End a lease early: destroys its container, without a refund. Asks first."""
    from pve402.cli import holdings

    holdings.end(url, token, ctid, without_asking=yes, as_json=as_json)


def owed(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List what the wallet paid and got nothing for; free, by a signature of the wallet."""
    from pve402.cli import owed as debts

    debts.show_all(url, as_json=as_json)


def redeem(  # noqa: PLR0913 -- one option each
    *,
    owed_id: Annotated[str, typer.Argument(help="As `pve402 owed` lists it.")],
    hostname: options.Hostname,
    minutes: Minutes = 60,
    sku: options.Sku = "standard-lxc",
    cores: options.Cores = 1,
    memory_mb: options.Memory = 512,
    disk_gb: options.Disk = 8,
    template: options.Template = None,
    ssh_key: options.SshKeys = None,
    env: options.LeaseEnvironment = None,
    user_data: options.UserData = None,
    user_data_at_once: options.UserDataAtOnce = False,
    wake_on: options.WakeOn = None,
    idle_pause: options.IdlePause = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Lease a container for what is owed, without a payment; the rest stays owed.

    Without --ssh-key the root password is asked for, or read from PVE402_ROOT_PASSWORD.
    """
    from pve402.cli import owed as debts

    wish = _wish(
        minutes=minutes,
        sku=sku,
        hostname=hostname,
        cores=cores,
        memory_mb=memory_mb,
        disk_gb=disk_gb,
        template=template,
        ssh_key=ssh_key,
        env=env,
        user_data=user_data,
        at_once=user_data_at_once,
        wake_on=wake_on or None,
        idle_pause_minutes=idle_pause,
    )
    debts.redeem(url, owed_id, wish, as_json=as_json)


def _wish(
    *,
    ssh_key: list[Path] | None,
    env: list[str] | None,
    user_data: Path | None,
    at_once: bool,
    minutes: int,
    **wished: Any,
) -> "schemas.LeaseRequest":
    from pve402 import schemas
    from pve402.cli import credentials, guest_work, user_data_work

    keys = [credentials.public_key(file) for file in ssh_key or []]
    return schemas.LeaseRequest(
        runtime_minutes=minutes,
        ssh_public_keys=keys,
        env=guest_work.lease_environment(env or []),
        user_data=user_data_work.read(user_data),
        user_data_network=False if at_once else None,
        password=None if keys else credentials.root_password(),
        **wished,
    )
