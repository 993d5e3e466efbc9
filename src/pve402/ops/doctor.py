"""Checks everything the service needs; names each problem, its setting and the fix."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pve402 import bootstrap, config
from pve402.ops.checks import diagnosis, findings, isolation, payments, proxmox, service
from pve402.ops.checks.findings import Finding, Verdict
from pve402.payments import errors as payment_errors
from pve402.proxmox import errors as pve

Check = Callable[[bootstrap.Components], Awaitable[list[Finding]]]

SUBJECTS: tuple[tuple[Check, ...], ...] = (
    (service.settings,),
    (service.database,),
    (proxmox.reached, proxmox.rights, proxmox.console_role, proxmox.nodes, isolation.networks),
    (payments.chains, payments.transfers),
    (payments.facilitators,),
)
"""What is checked, by subject; a Stop skips the remaining checks of its subject."""

_MARKS = {
    Verdict.OK: "[green]ok[/green]  ",
    Verdict.NOTE: "[yellow]note[/yellow]",
    Verdict.FAIL: "[red]FAIL[/red]",
}


async def examine(
    parts: bootstrap.Components, console: Console, env_file: Path | None = None
) -> int:
    """Print a line for each finding; return 1 if anything is wrong, else 0."""
    found = service.unknown_variables(env_file)
    for checks in SUBJECTS:
        found += await _examine_subject(checks, parts)
    for finding in found:
        console.print(f"{_MARKS[finding.verdict]} {escape(finding.text)}", soft_wrap=True)
    return int(any(finding.verdict is Verdict.FAIL for finding in found))


async def _examine_subject(checks: tuple[Check, ...], parts: bootstrap.Components) -> list[Finding]:
    found: list[Finding] = []
    for check in checks:
        try:
            found += await _run(check, parts.settings, parts)
        except findings.Stop as stop:
            return [*found, stop.finding]
    return found


async def _run(
    check: Check, settings: config.Settings, parts: bootstrap.Components
) -> list[Finding]:
    """Return what a check finds; an unexpected failure is a finding, too."""
    try:
        return await check(parts)
    except pve.ProxmoxError as error:
        return [await diagnosis.explain(error, settings)]
    except (payment_errors.PaymentError, OSError) as error:
        return [findings.bad(check.__name__, str(error))]
