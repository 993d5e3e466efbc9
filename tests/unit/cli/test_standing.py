"""When a failed purchase may still be charged, and when there is nothing to report."""

import pytest
from tests.support.tenant_service import LEASE, LEASE_ID

from pve402 import client, schemas
from pve402.cli.purchases import Standing

ACCEPTED = schemas.LeaseAnswer.model_validate(LEASE)
OPEN = [
    client.ServiceUnreachable("no answer in time"),
    client.refusals.of(503, "order_pending", "wait"),
    client.refusals.of(503, "settlement_pending", "wait"),
    client.refusals.of(503, "overloaded", "wait"),
    client.refusals.of(503, "chain_unavailable", "wait"),
    client.refusals.of(500, "internal_error", "our side"),
    client.refusals.of(429, "too_many_requests", "wait"),
    client.refusals.of(404, "unexpected_answer", "a proxy's"),
    client.refusals.of(502, "unexpected_answer", "a proxy's"),
    client.refusals.of(504, "unexpected_answer", "a proxy's"),
    client.UnexpectedAnswer("the answer is not the service's"),
]
CLOSED = [
    client.refusals.of(402, "insufficient_funds", "too little"),
    client.refusals.of(409, "no_capacity", "full"),
    client.refusals.of(422, "invalid_hostname", "no"),
    client.refusals.of(429, "wallet_must_wait", "wait"),
    client.refusals.of(502, "provisioning_failed", "uncharged"),
]
#: What ends an order that was accepted; any other refusal only answers that one request.
FAILED = [CLOSED[0], CLOSED[-1]]


@pytest.mark.parametrize("error", OPEN, ids=str)
def test_a_payment_that_may_be_taken_is_said_to_be(capsys, error: client.ClientError):
    standing = Standing()
    standing.note(None)
    standing.tell_if_open(error)

    assert "a payment was sent" in capsys.readouterr().err


@pytest.mark.parametrize("error", [*OPEN, *CLOSED[1:-1]], ids=str)
def test_a_lease_that_is_being_made_is_named(capsys, error: client.ClientError):
    standing = Standing()
    standing.note(None)
    standing.note(ACCEPTED)
    standing.tell_if_open(error)

    said = capsys.readouterr().err
    assert all(f"{command} {LEASE_ID}" in said for command in ("pve402 token", "pve402 end"))


@pytest.mark.parametrize("error", FAILED, ids=str)
def test_a_lease_that_failed_is_not_said_to_go_on(capsys, error: client.ClientError):
    standing = Standing()
    standing.note(ACCEPTED)
    standing.tell_if_open(error)

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", CLOSED, ids=str)
def test_what_was_refused_leaves_nothing_to_say(capsys, error: client.ClientError):
    standing = Standing()
    standing.note(None)
    standing.tell_if_open(error)

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [*OPEN, *CLOSED], ids=str)
def test_before_a_payment_there_is_nothing_to_say(capsys, error: client.ClientError):
    Standing().tell_if_open(error)

    assert capsys.readouterr().err == ""


def test_a_renewal_names_no_lease_to_end(capsys):
    standing = Standing()
    standing.note_sent(ACCEPTED)
    standing.tell()

    assert LEASE_ID not in capsys.readouterr().err
