"""The operator's rules about who may buy; few rows, read as a whole."""

import sqlalchemy as sa

from pve402.domain import blocklist
from pve402.storage import database, tables, transaction

_rules = tables.block_rules
MOST_RULES = 10_000


async def list_all(tx: transaction.Transaction) -> list[blocklist.Rule]:
    """Return all rules, by subject."""
    query = sa.select(_rules.c.subject, _rules.c.effect, _rules.c.reason)
    found = (await tx.execute(query.order_by(_rules.c.subject).limit(MOST_RULES))).all()
    return [
        blocklist.Rule(subject=subject, effect=blocklist.Effect(effect), reason=reason)
        for subject, effect, reason in found
    ]


async def put(db: database.Database, tx: transaction.Transaction, rule: blocklist.Rule) -> None:
    """Write a rule in place of the one for the same subject."""
    await remove(tx, rule.subject)
    values = {"subject": rule.subject, "effect": rule.effect.value, "reason": rule.reason}
    await tx.execute(_rules.insert().values(**values, created_at=db.now()))


async def remove(tx: transaction.Transaction, subject: str) -> bool:
    """Remove a subject's rule; return whether there was one."""
    query = _rules.delete().where(_rules.c.subject == subject).returning(_rules.c.subject)
    return (await tx.execute(query)).one_or_none() is not None
