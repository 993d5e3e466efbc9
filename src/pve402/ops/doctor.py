"""Checks everything the service needs; names each problem, its setting and the fix."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pve402 import bootstrap
from pve402.ops.checks import deep as deep_check
from pve402.ops.checks import (
    diagnosis,
    findings,
    images,
    isolation,
    oci,
    payments,
    proxmox,
    service,
)
from pve402.ops.checks.findings import Finding, Verdict
from pve402.payments import errors as payment_errors
from pve402.proxmox import errors as pve

Check = Callable[[bootstrap.Components], Awaitable[list[Finding]]]

SUBJECTS: tuple[tuple[Check, ...], ...] = (
    (service.settings,),
    (service.database,),
    (
        *(proxmox.reached, proxmox.rights, proxmox.console_role, proxmox.nodes),
        *(isolation.networks, images.prepared, oci.on_sale),
    ),
    (payments.chains, payments.transfers),
    (payments.facilitators,),
)
"""What is checked, by subject; a Stop skips the remaining checks of its subject."""

_MARKS = {
    Verdict.OK: "[green]ok[/green]  ",
    Verdict.NOTE: "[yellow]note[/yellow]",
    Verdict.FAIL: "[red]FAIL[/red]",
    Verdict.UNKNOWN: "[yellow]unknown[/yellow]",
}
_WRONG = frozenset({Verdict.FAIL, Verdict.UNKNOWN})


class Doctor:
    """Prints a line for each finding, as it comes."""

    def __init__(self, parts: bootstrap.Components, console: Console) -> None:
        self._parts = parts
        self._console = console
        self._seen: set[Verdict] = set()

    @property
    def exit_status(self) -> int:
        """1 if anything is wrong or could not be shown, else 0."""
        return int(not self._seen.isdisjoint(_WRONG))

    def tell(self, finding: Finding) -> None:
        """Print a finding."""
        self._seen.add(finding.verdict)
        text = f"{_MARKS[finding.verdict]} {escape(finding.text)}"
        self._console.print(text, soft_wrap=True)

    async def check(self, subject: tuple[Check, ...]) -> bool:
        """Run the checks of a subject; return False if one made those after it useless."""
        for check in subject:
            try:
                found = await self._run(check)
            except findings.Stop as stop:
                self.tell(stop.finding)
                return False
            for finding in found:
                self.tell(finding)
        return True

    async def _run(self, check: Check) -> list[Finding]:
        """Return what a check finds; an unexpected failure is a finding, too."""
        try:
            return await check(self._parts)
        except pve.ProxmoxError as error:
            return [await diagnosis.explain(error, self._parts.settings)]
        except (payment_errors.PaymentError, OSError) as error:
            return [findings.bad(check.__name__, str(error))]


async def examine(
    parts: bootstrap.Components, console: Console, env_file: Path | None = None
) -> int:
    """Check the configuration of everything; return the exit status."""
    doctor = Doctor(parts, console)
    for finding in service.unknown_variables(env_file):
        doctor.tell(finding)
    for subject in SUBJECTS:
        await doctor.check(subject)
    doctor.tell(isolation.unsent())
    return doctor.exit_status


async def examine_deeply(
    parts: bootstrap.Components, console: Console, *, wanted: deep_check.Deep
) -> int:
    """Show with guests and packets of our own what they can do; return the exit status."""
    doctor = Doctor(parts, console)

    async def send(parts: bootstrap.Components) -> list[Finding]:
        await wanted.run(parts, doctor.tell)
        return []

    await doctor.check((proxmox.reached, send, isolation.networks))
    return doctor.exit_status
