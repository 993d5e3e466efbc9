"""Turns to make guests."""

from tests.integration.storage.test_queue import new_lease

from pve402.leases import making_turns, options


def test_copies_of_containers_leave_turns_to_others() -> None:
    usual, settings = (
        new_lease(1),
        options.LeaseOptions(instance="demo", default_template="local:vztmpl/debian"),
    )
    fork = usual.evolve(forked_from="l1")

    most = [making_turns.most(row, settings) for row in (usual, fork)]

    assert most == [settings.creates_per_node, settings.creates_per_node // 2]
