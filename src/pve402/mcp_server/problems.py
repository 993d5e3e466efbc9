"""What went wrong, and what an agent can do about it."""

import re
from dataclasses import dataclass
from typing import Any, Final

from pve402.client import errors, refusals


class ToolFailed(Exception):
    """A tool cannot do what was asked; the text is ours."""

    def __init__(self, code: str, message: str, following: str) -> None:
        super().__init__(message)
        self.code = code
        self.following = following


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A failure as an agent reads it; `words` are of ours, or else of the service."""

    code: str
    words: str
    following: str
    is_ours: bool

    def document(self) -> dict[str, Any]:
        """The failure as JSON; the service's words are marked as such."""
        where = "message" if self.is_ours else "from_service"
        return {"error": self.code, where: self.words, "next": self.following}


def of(error: Exception) -> Problem:
    """Describe a failure."""
    if isinstance(error, ToolFailed):
        return Problem(code=error.code, words=str(error), following=error.following, is_ours=True)
    if isinstance(error, errors.Refused):
        code = error.code if _CODE.fullmatch(error.code) else "refused"
        return Problem(code=code, words=error.detail, following=_refused(error), is_ours=False)
    if isinstance(error, TimeoutError):
        return Problem(
            code="no_answer_in_time", words="no answer in time", following=_SLOW, is_ours=True
        )
    return Problem(
        code=_code(error),
        words=_words(error),
        following=_advice(error),
        is_ours=not isinstance(error, _QUOTING),
    )


def unforeseen(error: Exception) -> ToolFailed:
    """A fault of ours; its text may hold anything, so only its kind is told."""
    return ToolFailed(
        "internal_error", f"pve402 failed unexpectedly ({type(error).__name__})", _UNFORESEEN
    )


def _code(error: Exception) -> str:
    """The name of the error's class as a code."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()


def _words(error: Exception) -> str:
    """What went wrong. An outcome that is not known may be told in words of the service."""
    if isinstance(error, errors.OutcomeUnknown):
        return "a payment was sent, and its outcome is not known yet"
    return str(error)


def _refused(error: errors.Refused) -> str:
    wait = error.retry_after_seconds
    when = f" Wait {min(wait, 3600)} s first." if wait is not None else ""
    return _advice(error) + when


def _advice(error: Exception) -> str:
    if isinstance(error, errors.Refused) and error.code in NEXT_BY_CODE:
        return NEXT_BY_CODE[error.code]
    return next(_NEXT[kind] for kind in type(error).__mro__ if kind in _NEXT)


#: Their texts may quote the service.
_QUOTING: Final = (errors.UnexpectedAnswer, errors.CommandLost, errors.NameAmbiguous)
_CODE: Final = re.compile(r"[a-z0-9_]{1,40}")
_SLOW: Final = (
    "It may or may not have been done. `list_leases`, `list_commands` and `check_order` say how"
    " things stand; looking costs nothing."
)
_ASK_USER: Final = "Tell the user: "
_UNFORESEEN: Final = _ASK_USER + "what pve402 wrote to stderr says more."
#: What a service or a box does not offer, now or later.
_NEVER: Final = (
    *("address_not_kept", "copy_not_possible", "fork_unsupported", "forks_off", "image_needs_key"),
    *("images_not_offered", "no_longer_sold", "pausing_off", "snapshots_not_possible"),
    "snapshots_off",
)
_LEFT_TOO_SHORT: Final = "`renew` the lease first, and call again."
NEXT_BY_CODE: Final = {
    **dict.fromkeys(_NEVER, "Do not try again: this service or this box does not offer it."),
    "copies_failed": "Check with `run` that the box works, and try again later.",
    "file_refused": "Choose another path; `list_files` shows what there is.",
    "fork_ends_too_soon": _LEFT_TOO_SHORT,
    "fork_needs_stop": "Stop the box with `power`, call again, and start it once the copies are"
    " there.",
    "has_snapshots": "Call again with `delete_snapshots` if its snapshots may go.",
    "image_ended": "`renew` the image by its template first.",
    "image_exists": "`list_images` shows it. Use it, or choose another name.",
    "image_not_found": "`list_images` shows the private images there are.",
    "lease_not_ready": "`list_leases` shows how it is. If it is paused, start it with `power`; if"
    " its time is over, `renew` it; if it is not listed, it is gone. Otherwise try again soon.",
    "lease_suspended": _ASK_USER + "the operator stopped this box, and only the operator can resume"
    " it.",
    "needs_restart": "Call again with `allow_restart` if what runs in the box may end.",
    "out_of_bounds": "Correct the arguments and call again; `catalogue` has the bounds.",
    "paid_too_far_ahead": "Choose fewer minutes, or a larger size.",
    "ports_off": "Do not try again. `run` reaches the port from inside the box; the user reaches it"
    " by `pve402 tunnel`.",
    "snapshot_exists": "`list_snapshots` shows it. Use it, delete it, or choose another name.",
    "snapshot_not_found": "`list_snapshots` shows the snapshots there are.",
    "stop_first": "Name a snapshot (`take_snapshot`), or stop the box with `power` and call again.",
    "too_little_time_left": _LEFT_TOO_SHORT,
    "too_many_images": "`delete_image` makes room, if the user no longer needs one.",
    "too_many_ports": "`unpublish` makes room, if the user no longer needs one.",
    "too_many_snapshots": "`delete_snapshot` makes room.",
    "unknown_template": "Name it as `catalogue` does; a private image by its template in"
    " `list_images`.",
}
_NEXT: Final[dict[type, str]] = {
    errors.ClientError: _ASK_USER + "see the message.",
    errors.ServiceUnreachable: "Nothing is known to be wrong with the box. Try again in a moment;"
    " after an order, call `check_order` first.",
    errors.UnexpectedAnswer: _ASK_USER + "this address is not a pve402 service, or a proxy is in"
    " between. Do not repeat the call.",
    errors.RequestInvalid: "Correct the arguments and call again.",
    errors.OverCap: "Nothing was paid. Choose less, or call again with a higher `max_usd` if the"
    " user agrees.",
    errors.OverLimit: "Nothing was paid. The user set this limit; only the user can change it, by"
    " `pve402 wallet limits` or the options of `pve402 mcp`. Choose less, or ask the user.",
    errors.LedgerUnusable: _ASK_USER + "nothing is paid while the spend ledger cannot be used.",
    errors.KeyNeeded: _ASK_USER + "there is no wallet for this service; `pve402 login URL` in a"
    " terminal names one.",
    errors.NameUnknown: "`list_leases` and `list_images` show what there is.",
    errors.NameAmbiguous: "Name the lease by its lease_id, or the image by its template.",
    errors.CommandLost: "Its outcome cannot be known. Look at what it did, and run it again if"
    " that is harmless.",
    errors.FileTooLarge: "Read a part with `offset`, or cut it down with `run`.",
    errors.FileDamaged: "The file changed while it was read. Read it again.",
    errors.OutcomeUnknown: "Do not order again. `check_order` finds out what became of the payment"
    " and buys nothing twice.",
    errors.Refused: "Do not repeat the call unchanged.",
    refusals.InvalidRequest: "Correct the arguments and call again.",
    refusals.NotAuthenticated: _ASK_USER + "the lease's token is no longer good; `pve402 token"
    " LEASE` gets a new one.",
    refusals.PaymentRefused: "Nothing was charged. " + _ASK_USER + "the wallet may lack USDC;"
    " `pve402 wallet balance` shows it.",
    refusals.NotAllowed: _ASK_USER + "the service does not allow this.",
    refusals.NotFound: "Check the name; `list_leases`, `list_files` and `list_commands` show what"
    " there is.",
    refusals.LeaseOver: "The box is gone. `lease` gets a new one.",
    refusals.Conflict: "Look at the state with `list_leases`, and try again in some seconds.",
    refusals.NoCapacity: "Nothing was charged. Choose a smaller size or another sku, or try later.",
    refusals.GuestNotRunning: "The box is stopped or paused. `power` with start starts it.",
    refusals.TooMany: "Do less at a time, and try again later.",
    refusals.ServiceFailed: "The service failed at it. Try once more, then tell the user.",
    refusals.ProvisioningFailed: "Nothing was charged. Try once more, then tell the user.",
    refusals.PaymentOwed: "Do not pay again: the service owes this money to the wallet. "
    + _ASK_USER
    + "`pve402 owed` lists it.",
    refusals.TryLater: "Try again later.",
    refusals.OrderOpen: "Do not order again; `check_order` says when it is done.",
}
