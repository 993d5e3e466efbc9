"""A wallet signs a sign-in to the service that it calls, and nothing else that is asked of it."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.support import sign_in_texts

from pve402 import client, schemas
from pve402.client import challenges
from pve402.payments import wallet

URL = "https://rent.example.com:8443"
OURS = "0x" + "aB" * 20
DAYS = 24 * 3600


def test_a_sign_in_to_the_service_is_signed():
    assert checked(text()) == text()


def test_the_statement_is_the_one_that_services_write():
    assert sign_in_texts.STATEMENT == wallet.STATEMENT


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("rent", "bank", 1), "another service"),
        (lambda text: text.replace("URI: https://rent", "URI: https://bank"), "another address"),
        (lambda text: text.replace("URI: https:", "URI: http:"), "another address"),
        (lambda text: text.replace("URI: https://", "URI: https://x@"), "another address"),
        (lambda text: text.replace("aB", "cd"), "another wallet"),
        (lambda text: text.replace("Nonce: 0", "Nonce: 1"), "different nonce"),
        (lambda text: text.replace("Time: 2", "Time: 3"), "valid too long"),
        (lambda text: text.replace("Version: 1", "Version: 2"), "not a sign-in"),
        (lambda text: text.replace("Chain ID: 8", "Chain ID: 0"), "not a sign-in"),
        (lambda text: text.replace("Prove", "Pay\nProve"), "not a sign-in"),
        (lambda text: text + "\nResources:\n- https://bank.example", "not a sign-in"),
        (lambda text: text.partition("\n")[0], "not a sign-in"),
        (lambda text: text + "\n", "not a sign-in"),
    ],
)
def test_any_other_text_is_not(change: Callable[[str], str], why: str):
    with pytest.raises(client.UnexpectedAnswer, match=why):
        checked(change(text()))


def test_a_text_that_is_good_for_days_is_not_signed():
    with pytest.raises(client.UnexpectedAnswer, match="valid too long"):
        checked(text(lasts=2 * DAYS))


def checked(message: str) -> str:
    asked = schemas.ChallengeAnswer(
        message=message, nonce=sign_in_texts.NONCE, expires_at=datetime(2030, 1, 1, tzinfo=UTC)
    )
    return challenges.checked(asked, url=URL, account=OURS)


def text(lasts: int = 300) -> str:
    return sign_in_texts.written(URL, OURS, lasts=lasts)
