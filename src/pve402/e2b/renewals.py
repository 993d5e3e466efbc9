"""More time for sandboxes, bought once, whatever is repeated, interrupted or killed.

A renewal is noted before it is paid, and the note goes once its outcome is known. So one that was
interrupted is asked for again by the same payment before another is bought.
"""

import secrets
from datetime import datetime

from pve402 import client
from pve402.client import threads
from pve402.e2b import records, refusals
from pve402.sdk import paying


class Renewals:
    """Buys time for the sandboxes of one service; the caller sees to it that one buys at a time."""

    def __init__(self, service: client.Client, kept: records.Records) -> None:
        self._service = service
        self._records = kept

    async def bought(self, one: records.Sandbox, ends_at: float) -> float:
        """Buy the minutes that are missing until then. Returns until when the sandbox is paid.

        Raises Gone, ClientError.
        """
        paid_until = one.paid_until
        if await self._is_sent(one):
            paid_until = await self._buy(one, one.renewal_key, one.renewal_minutes)
        shown = await self._service.show(one.sandbox_id)
        paid_until = max(paid_until, seconds(shown.expires_at, paid_until))
        if ends_at <= paid_until:
            return paid_until
        once, missing = f"e2b-{secrets.token_urlsafe(24)}", minutes(ends_at - paid_until)
        if not await threads.run(self._records.begin_renewal, one.sandbox_id, once, missing):
            raise refusals.Gone(one.sandbox_id)
        return await self._buy(one, once, missing)

    async def _is_sent(self, one: records.Sandbox) -> bool:
        """Whether there is a renewal that was paid, and whose outcome nobody has seen."""
        if not one.renewal_key:
            return False
        path = f"/lease/{one.sandbox_id}/renew"
        facts = (one.renewal_key, self._service.url, path)
        return await threads.run(self._service.book.sent_for, *facts) is not None

    async def _buy(self, one: records.Sandbox, once: str, missing: int) -> float:
        try:
            renewed = await paying.settled(
                lambda so_far: self._service.renew(
                    one.sandbox_id, missing, idempotency_key=once, on_progress=so_far.note_sent
                ),
                once,
            )
        except client.OutcomeUnknown:
            raise
        except client.ClientError:
            await threads.run(self._records.end_renewal, one.sandbox_id, one.paid_until)
            raise
        paid_until = seconds(renewed.expires_at, one.paid_until)
        await threads.run(self._records.end_renewal, one.sandbox_id, paid_until)
        return paid_until


def seconds(moment: datetime | None, fallback: float) -> float:
    """A time in seconds since 1970."""
    return fallback if moment is None else moment.timestamp()


def minutes(duration_seconds: float) -> int:
    """Whole minutes, as they are sold."""
    return max(1, -int(-duration_seconds // 60))
