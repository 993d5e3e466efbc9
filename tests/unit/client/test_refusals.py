"""Refusals have classes: every code of the service has one that fits its status."""

import pytest
from scripts import reference

from pve402 import client
from pve402.client import refusals

TABLE = [line.split(" | ")[:2] for line in reference.errors().splitlines()[2:]]
CODES = sorted({(int(status.strip("| ")), code.strip("` ")) for status, code in TABLE})


@pytest.mark.parametrize(("status", "code"), CODES)
def test_every_code_of_the_service_has_a_kind(status: int, code: str):
    refused = refusals.of(status, code, "no")

    assert type(refused) is not client.Refused
    assert (refused.status, refused.code) == (status, code)


def test_every_code_with_a_class_of_its_own_is_the_services():
    named = {code for kind in refusals.kinds() for code in kind.codes}

    assert named <= {code for _, code in CODES}
    assert len(named) > 10


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "no_capacity", refusals.NoCapacity),
        (409, "lease_over", refusals.LeaseOver),
        (410, "lease_ended", refusals.LeaseOver),
        (404, "file_missing", refusals.FileMissing),
        (402, "insufficient_funds", refusals.PaymentRefused),
        (503, "settlement_pending", refusals.OrderOpen),
        (503, "a_code_of_tomorrow", refusals.TryLater),
        (418, "a_code_of_tomorrow", client.Refused),
    ],
)
def test_the_code_decides_before_the_status(status: int, code: str, kind: type[client.Refused]):
    assert type(refusals.of(status, code, "no")) is kind
