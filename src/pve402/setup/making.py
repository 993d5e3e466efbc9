"""Makes the changes that steps need: shown first, made once, looked up where an answer was lost."""

from collections.abc import Callable, Iterable

from pve402.proxmox import errors, tasks
from pve402.proxmox.administration import Change
from pve402.setup import commands, steps
from pve402.setup.operator import Cancelled, Operator

_TRIES = 3
_DOWNLOAD_SECONDS = 1800

Answered = Callable[[Change, object], None]


async def make_all(
    wanted: Iterable[steps.Step], site: steps.Site, operator: Operator, answered: Answered
) -> None:
    """Show what is missing, ask once, and make it; `answered` sees each answer.

    Raises Cancelled if the operator says no, ProxmoxError if a change is refused.
    """
    found = [(step, await step.needed(site)) for step in wanted]
    missing = [(step, change) for step, change in found if change is not None]
    for step, change in missing:
        operator.tell(f"{step.what}\n  {commands.command(change)}")
    if missing and not operator.agrees(f"Make these {len(missing)} changes?"):
        raise Cancelled("Nothing of this was changed on Proxmox VE.")
    for step, change in missing:
        answer = await _make(step, change, site)
        answered(change, answer)
        await _wait(site.tasks, answer)
        operator.tell(f"done: {step.what}")
    if not missing:
        operator.tell("Proxmox VE has everything already.")


async def _make(step: steps.Step, change: Change, site: steps.Site) -> object:
    """Make a change; where the answer was lost, look whether it was made, and try again."""
    for _ in range(_TRIES - 1):
        try:
            return await site.administration.make(change)
        except errors.OutcomeUnknown:
            still_needed = await step.needed(site)
        if still_needed is None:
            return None
        change = still_needed
    return await site.administration.make(change)


async def _wait(running: tasks.Tasks, answer: object) -> None:
    if isinstance(answer, str) and answer.startswith("UPID:"):
        upid = tasks.Upid.parse(answer)
        await running.wait_until_finished(upid, limit_seconds=_DOWNLOAD_SECONDS)
