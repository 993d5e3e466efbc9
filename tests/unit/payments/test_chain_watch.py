"""Chains that cannot be read: dead, of another network, behind, or speaking nonsense."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.support import payments as make

from pve402.payments import chain as chains
from pve402.payments import chain_watch

NETWORK = "eip155:84532"
Change = Callable[[make.FakeNode], None]


def _node() -> make.FakeNode:
    return make.FakeNode(newest_seconds=int(time.time()))


def _watch(node: make.FakeNode) -> chain_watch.ChainWatch:
    options = chain_watch.WatchOptions(interval_seconds=0.005)
    return chain_watch.ChainWatch({NETWORK: chains.Chain(node)}, options)


def is_down(node: make.FakeNode) -> None:
    node.unavailable = True


def is_old(node: make.FakeNode) -> None:
    node.newest_seconds = int(time.time()) - 301


def is_very_old(node: make.FakeNode) -> None:
    node.newest_seconds = 0


def says(chain_id: Any) -> Change:
    def change(node: make.FakeNode) -> None:
        node.chain_id = chain_id

    return change


TROUBLES = [is_down, is_old, is_very_old, says(None), says("84532"), says("0xzz"), says({})]


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_chain_in_trouble_is_not_readable_and_comes_back_by_itself(
    trouble: Change,
) -> None:
    node = _node()
    watch = _watch(node)
    before = watch.is_readable(NETWORK)
    await watch.start()
    at_first = watch.is_readable(NETWORK)

    trouble(node)
    lost = await _becomes(watch, readable=False)
    node.unavailable, node.chain_id = False, hex(84532)
    node.newest_seconds = int(time.time())
    back = await _becomes(watch, readable=True)
    await watch.stop()

    assert (before, at_first, lost, back) == (False, True, True, True)


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_start_waits_for_a_chain_in_trouble(trouble: Change) -> None:
    node = _node()
    trouble(node)
    watch = _watch(node)

    await watch.start()
    await watch.stop()

    assert not watch.is_readable(NETWORK)
    assert watch.unreadable[NETWORK]


@pytest.mark.parametrize("chain_id", [1, 8453, 84531, 84533, 31337])
async def test_a_start_refuses_the_endpoint_of_another_chain(chain_id: int) -> None:
    node = _node()
    node.chain_id = hex(chain_id)
    watch = _watch(node)

    with pytest.raises(chain_watch.WrongChain) as told:
        await watch.start()

    assert (told.value.network, told.value.chain_id) == (NETWORK, chain_id)


async def test_an_endpoint_that_becomes_another_chains_is_not_read() -> None:
    node = _node()
    watch = _watch(node)
    await watch.start()

    node.chain_id = hex(8453)
    lost = await _becomes(watch, readable=False)
    await watch.stop()

    assert lost


async def _becomes(watch: chain_watch.ChainWatch, *, readable: bool) -> bool:
    for _ in range(400):
        if watch.is_readable(NETWORK) is readable:
            return True
        await make.pause()
    return False
