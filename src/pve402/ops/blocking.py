"""The operator's rules about who may buy: block, allow, remove, show."""

import dataclasses
import json
import sys
from typing import Final

from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.domain import blocklist
from pve402.ops import screen
from pve402.storage import block_rows

EXIT_REFUSED: Final = 1
LONGEST_REASON: Final = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Put:
    """Writes a rule in place of the subject's last one."""

    subject: str
    effect: blocklist.Effect
    reason: str = ""

    async def run(self, parts: bootstrap.Components, console: Console) -> int:
        """Write the rule; 1 if the subject or the reason is wrong, or the list is full."""
        if len(self.reason) > LONGEST_REASON or not self.reason.isprintable():
            return _refuse(f"the reason must be at most {LONGEST_REASON} printable characters")
        try:
            subject = blocklist.canonical(self.subject)
        except ValueError as error:
            return _refuse(f"{self.subject[:100]!r}: {error}")
        rule = blocklist.Rule(subject=subject, effect=self.effect, reason=self.reason)
        async with parts.db.begin() as tx:
            if len(await block_rows.list_all(tx)) >= block_rows.MOST_RULES:
                return _refuse(f"there are {block_rows.MOST_RULES} rules already; remove some")
            await block_rows.put(parts.db, tx, rule)
        done = {blocklist.Effect.BLOCK: "blocked", blocklist.Effect.ALLOW: "allowed"}
        console.print(f"{subject} is {done[self.effect]}", soft_wrap=True)
        return 0


async def remove(parts: bootstrap.Components, console: Console, *, subject: str) -> int:
    """Remove a subject's rule; 1 if there is none."""
    try:
        known = blocklist.canonical(subject)
    except ValueError as error:
        return _refuse(f"{subject[:100]!r}: {error}")
    async with parts.db.begin() as tx:
        if not await block_rows.remove(tx, known):
            return _refuse(f"there is no rule for {known}")
    console.print(f"the rule for {known} is removed", soft_wrap=True)
    return 0


async def show(parts: bootstrap.Components, console: Console, *, as_json: bool = False) -> int:
    """Print all rules; return 0."""
    async with parts.db.read() as tx:
        rules = await block_rows.list_all(tx)
    if as_json:
        facts = [{**dataclasses.asdict(rule), "effect": rule.effect.value} for rule in rules]
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return 0
    if not rules:
        console.print("nobody is blocked")
        return 0
    table = Table("subject", "effect", "reason", box=None)
    for rule in rules:
        table.add_row(rule.subject, rule.effect.value, screen.plain(rule.reason))
    screen.print_whole(console, table)
    return 0


def _refuse(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return EXIT_REFUSED
