"""Whose a guest is: tags, and a description that only our key can have written."""

import base64
import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402.domain import inbound, lease, mark, meter

KEY = b"k" * 32
RECORD = mark.GuestRecord(
    lease_id="l" + "0" * 25,
    owner="eip155:84532:0x" + "ab" * 20,
    sku="standard-lxc",
    size=lease.Size(cores=1, memory_mb=512, disk_gb=8),
    expires_at=datetime(2026, 11, 21, 12, 0, tzinfo=UTC),
)


METERED = meter.Meter(
    balance=-(10**45) - 1,
    burn=10**30 + 1,
    metered_at=RECORD.expires_at - timedelta(milliseconds=86_399_999),
)


def test_a_description_tells_what_was_written() -> None:
    assert mark.read_description(mark.describe(RECORD, KEY), KEY) == RECORD


def test_a_balance_comes_back_to_the_unit_and_the_millisecond() -> None:
    record = dataclasses.replace(RECORD, metered=METERED)

    assert mark.read_description(mark.describe(record, KEY), KEY) == record


def test_a_line_without_a_balance_is_that_of_earlier_versions() -> None:
    """They read it, and theirs is read."""
    body = mark.describe(RECORD, KEY).split("pve402:v1:")[1].split(":")[0]

    assert "metered" not in json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_how_a_lease_is_paused_and_woken_comes_back() -> None:
    record = dataclasses.replace(RECORD, wake_on=("command", "port"), idle_pause_minutes=1440)

    assert mark.read_description(mark.describe(record, KEY), KEY) == record


@pytest.mark.parametrize("openings", [None, (), (inbound.Opening(protocol="ping"),)])
def test_what_a_tenant_lets_in_comes_back(openings: tuple[inbound.Opening, ...] | None) -> None:
    """To let nothing in is another choice than the network's."""
    record = dataclasses.replace(RECORD, openings=openings)

    assert mark.read_description(mark.describe(record, KEY), KEY) == record


def test_what_people_add_around_the_line_does_no_harm() -> None:
    text = "a note\n" + mark.describe(RECORD, KEY) + "\nanother note\n"

    assert mark.read_description(text, KEY) == RECORD


def test_a_line_of_another_key_does_not_count() -> None:
    assert mark.read_description(mark.describe(RECORD, b"x" * 32), KEY) is None


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_a_changed_line_does_not_count(position: int, letter: str) -> None:
    text = mark.describe(RECORD, KEY)
    start = text.index("pve402:v1:") + len("pve402:v1:")
    place = start + position % (len(text) - 1 - start)
    changed = text[:place] + letter + text[place + 1 :]

    assert changed == text or mark.read_description(changed, KEY) is None


@given(st.text(max_size=300))
def test_any_text_is_read_without_harm(text: str) -> None:
    assert mark.read_description(text, KEY) is None


@pytest.mark.parametrize(
    ("tags", "ours"),
    [
        (["pve402-main", "lease-" + RECORD.lease_id], True),
        (["lease-" + RECORD.lease_id], False),
        (["pve402-main"], False),
        (["pve402-other", "lease-" + RECORD.lease_id], False),
        (["pve402-main", "lease-l" + "1" * 25], False),
        ([], False),
    ],
)
def test_both_tags_are_needed(tags: list[str], ours: bool) -> None:
    assert mark.is_marked(tags, "main", RECORD.lease_id) is ours


def test_only_identities_are_read_from_tags() -> None:
    assert mark.leases_named(["lease-", "lease-x", "lease-" + RECORD.lease_id]) == [RECORD.lease_id]
