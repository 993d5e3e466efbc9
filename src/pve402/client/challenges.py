"""What a service may have a wallet sign: a sign-in (EIP-4361) to itself, and nothing else.

A service that is not honest could ask for another service's challenge and sign in there, or for a
text that means something else. So the whole text is compared with the form in which services of
ours write it.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from pve402 import schemas
from pve402.client import address, errors

#: Services of ours ask for five minutes; the clock of this machine may be wrong by hours.
LONGEST: Final = timedelta(days=1)

_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_FORM: Final = re.compile(
    r"(?P<domain>[\x21-\x7e]{1,255}) wants you to sign in with your Ethereum account:\n"
    r"(?P<account>0x[0-9a-fA-F]{40})\n\n[\x20-\x7e]{1,200}\n\nURI: (?P<uri>[\x21-\x7e]{1,500})\n"
    r"Version: 1\nChain ID: [1-9][0-9]{0,11}\nNonce: (?P<nonce>[0-9a-zA-Z]{8,128})\n"
    rf"Issued At: {_TIME}\nExpiration Time: (?P<expires>{_TIME})",
    re.ASCII,
)


def checked(asked: schemas.ChallengeAnswer, *, url: str, account: str) -> str:
    """Return the text, which signs this account in to the service at `url`.

    Raises UnexpectedAnswer for any other.
    """
    message = asked.message
    named = message.partition(" ")[0]
    if address.authority(f"//{named}") != address.authority(url):
        raise _refused(f"works at another service: it calls itself {errors.plain(named, 200)}")
    found = _FORM.fullmatch(message)
    if found is None:
        raise _refused("is not a sign-in in the form that services of this kind use")
    if found["account"].lower() != account.lower():
        raise _refused("is for another wallet")
    if not _is_same_origin(found["uri"], url):
        raise _refused(f"works at another address: {errors.plain(found['uri'], 200)}")
    if found["nonce"] != asked.nonce:
        raise _refused("has a different nonce from the one that the service gave")
    if not _is_soon(found["expires"]):
        raise _refused(f"would stay valid too long, until {found['expires']}")
    return message


def _refused(why: str) -> errors.UnexpectedAnswer:
    return errors.UnexpectedAnswer(f"the service asks for a signature that {why}")


def _is_same_origin(uri: str, url: str) -> bool:
    try:
        return address.origin(uri) == address.origin(url)
    except errors.AddressInvalid:
        return False


def _is_soon(text: str) -> bool:
    try:
        expires = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return expires <= datetime.now(UTC) + LONGEST
