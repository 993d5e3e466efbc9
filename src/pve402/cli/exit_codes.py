"""Exit codes of the tenants' commands, and how the service's refusals map to them.

0  done
1  something unexpected
2  wrong usage: an option, an address, a missing key, a request that cannot be served (422)
3  not paid: over the cap, declined, or the payment was refused (402)
4  not allowed, or the lease does not exist or is over (401, 403, 404, 410)
5  the state does not allow it: no capacity, busy, over (409), or it failed uncharged (502)
6  try again later; the outcome of a payment may be open (429, 503)
7  the service or a chain cannot be reached
8  the user declined, and nothing was done
128 + N  ended by signal N; 141 if the reader of the output has gone

`pve402 exec` ends with the exit code of its command instead: see inside.py.
"""

from typing import Final

from pve402 import client

FAILED: Final = 1
USAGE: Final = 2
NOT_PAID: Final = 3
NOT_ALLOWED: Final = 4
NOT_NOW: Final = 5
LATER: Final = 6
UNREACHABLE: Final = 7
DECLINED: Final = 8
SIGNALLED: Final = 128

_BY_STATUS: Final = {
    **dict.fromkeys((400, 413, 415, 416, 421, 422), USAGE),
    402: NOT_PAID,
    **dict.fromkeys((401, 403, 404, 410), NOT_ALLOWED),
    **dict.fromkeys((409, 412, 502), NOT_NOW),
    **dict.fromkeys((408, 429, 503, 504), LATER),
}
_BY_KIND: Final[dict[type[client.ClientError], int]] = {
    client.ServiceUnreachable: UNREACHABLE,
    client.OverCap: NOT_PAID,
    client.OverLimit: NOT_PAID,
    client.LedgerUnusable: NOT_NOW,
    client.ChainUnreadable: UNREACHABLE,
    client.OutcomeUnknown: LATER,
    client.NameUnknown: NOT_ALLOWED,
    **dict.fromkeys(
        (
            client.AddressInvalid,
            client.FileTooLarge,
            client.KeyInvalid,
            client.KeyNeeded,
            client.NameAmbiguous,
            client.NotesUnusable,
            client.TokenInvalid,
        ),
        USAGE,
    ),
}


def of(error: client.ClientError) -> int:
    """Return the exit code for an error."""
    if isinstance(error, client.Refused):
        return _BY_STATUS.get(error.status, FAILED)
    return _BY_KIND.get(type(error), FAILED)
