"""Turns to make guests."""

from datetime import UTC, datetime

import pytest
from tests.integration.storage.test_queue import new_lease

from pve402.domain import lease, private_images
from pve402.leases import making_turns, options
from pve402.storage import creation_rows

FORK = {"forked_from": "l1"}
FROM_IMAGE = {"template": private_images.template_of("l1")}
SAVED = {"owner": private_images.owner_of("eip155:1:0xab")}
POOLED = {"owner": lease.NOBODY}
TRIAL = {"owner": lease.DOCTOR}
ASKED = {"create_sent_at": datetime.now(UTC)}


@pytest.mark.parametrize(
    ("changes", "others", "at_most", "may"),
    [
        ({}, {"making": 7, "own": 7}, 8, True),
        ({}, {"making": 8}, 8, False),
        ({}, {"making": 7, "own": 4, "accounts": 1}, 8, False),
        ({}, {"making": 7, "own": 3, "accounts": 1}, 8, True),
        ({}, {"making": 7, "own": 2, "accounts": 2}, 8, True),  # shares are rounded up
        ({}, {"own_before": 9, "accounts": 6}, 8, True),
        ({}, {"own_before": 1, "accounts": 7}, 8, False),
        ({}, {"own_before": 1}, 1, True),
        ({}, {"own_before": 1, "accounts": 1}, 1, False),
        (ASKED, {"making": 7, "own": 7, "accounts": 9}, 8, True),
        (POOLED, {"making": 5, "own": 5, "accounts": 9}, 8, True),
        (POOLED, {"making": 6}, 8, False),
        (TRIAL, {"making": 7, "own": 7, "accounts": 9}, 8, True),
        (FORK, {"making": 7, "copies": 3, "own": 1}, 8, True),
        (FORK, {"making": 4, "copies": 4}, 8, False),
        (FORK, {"making": 2, "copies": 2, "own": 2}, 8, False),
        (FROM_IMAGE, {"making": 2, "copies": 2, "own": 2}, 8, False),
        (SAVED, {"making": 2, "copies": 2, "own": 2}, 8, False),
        (FORK | ASKED, {"making": 4, "copies": 4, "own": 4}, 8, True),
        (FORK, {}, 1, True),
        (FORK, {"own_before": 1}, 3, True),
        (FORK, {"own_before": 1, "accounts": 1}, 3, False),  # copies have one turn
        (FORK, {"own_before": 2, "accounts": 1}, 6, True),
    ],
)
def test_no_account_has_more_than_its_share_of_a_nodes_turns(
    changes: dict[str, object], others: dict[str, int], at_most: int, may: bool
) -> None:
    none = dict.fromkeys(("making", "copies", "own", "own_before", "accounts"), 0)
    settings = options.LeaseOptions(
        instance="demo", default_template="local:vztmpl/debian", creates_per_node=at_most
    )
    seen = creation_rows.Others(**{**none, **others})

    reason = making_turns.why_not(new_lease(1).evolve(**changes), seen, settings)

    assert (reason is None) is may
