"""Two processes that spend from one ledger and are killed while they pay; what the chain saw."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from tests.support import commands, programs
from tests.support.processes import USDC, DevnetProcess, ServeProcess

from pve402 import client

_USED = "0x" + keccak(text="AuthorizationUsed(address,bytes32)").hex()
_EARLY_SHARE = 0.2  # of the kills come at any time, the others after a signature


@dataclass(kw_only=True)
class Campaign:
    """What the killed processes did, and what they may spend."""

    service: ServeProcess
    book_path: Path
    limit_micro_usd: int
    wallet: LocalAccount = field(repr=False)
    kills_wanted: int
    dice: random.Random
    kills: int = 0
    kills_while_paying: int = 0
    over: int = 0
    funded_atomic: int = 0
    most_spent_atomic: int = 0

    def run(self) -> None:
        """Kill two processes again and again, then let both run up to the limit."""
        self.funded_atomic = self.service.devnet.usdc(self.wallet.address)
        slots = [threading.Thread(target=self._run_slot) for _ in range(2)]
        for slot in slots:
            slot.start()
        while any(slot.is_alive() for slot in slots):
            spent = self.funded_atomic - self.service.devnet.usdc(self.wallet.address)
            self.most_spent_atomic = max(self.most_spent_atomic, spent)
            time.sleep(0.2)
        for slot in slots:
            slot.join()

    def violations(self, book: client.ledger.Ledger) -> list[str]:
        """What the chain and the ledger contradict each other in, or the limit."""
        used = nonces_used(self.service.devnet, self.wallet.address)
        payments = book.payments()
        settled = [one for one in payments if one.state is client.spending.State.SETTLED]
        moved = sum(one.amount_atomic for one in payments if one.nonce in used)
        spent = self.funded_atomic - self.service.devnet.usdc(self.wallet.address)
        found = {
            "a transfer is not in the ledger": used - {one.nonce for one in payments},
            "a settled payment moved nothing": {one.nonce for one in settled} - used,
            "a transfer is not known as settled": used - {one.nonce for one in settled},
            "the sums differ": spent != moved,
            "more was spent than the limit": max(spent, self.most_spent_atomic)
            > self.limit_micro_usd,
            "a process never came to the limit": self.over != 2,
        }
        return [f"{what}: {which}" for what, which in found.items() if which]

    def _run_slot(self) -> None:
        lease = commands.lease(self.service)
        told = {
            "key": "0x" + self.wallet.key.hex().removeprefix("0x"),
            "token": lease.token,
            "lease": lease.lease_id,
        }
        with self._spender() as spender:
            while not self._one_run(spender, told):
                pass
        self.over += 1

    def _one_run(self, spender: subprocess.Popen[str], told: dict[str, str]) -> bool:
        """Start a run and kill it, if enough were not killed yet; true if it came to the limit.

        A run that is to be killed pays once, so that late kills do not use the limit up.
        """
        assert spender.stdin
        assert spender.stdout
        is_early = self.dice.random() < _EARLY_SHARE
        is_left = self.kills >= self.kills_wanted
        spender.stdin.write(json.dumps({**told, "pays": "always" if is_left else "once"}) + "\n")
        spender.stdin.flush()
        pid = int(spender.stdout.readline().removeprefix("pid "))
        if is_early and not is_left:
            self._kill_later(pid, 0.3)
        is_over = False
        while (line := spender.stdout.readline().strip()) != "gone":
            assert line, "the spender is gone"
            is_over = is_over or line == "over"
            if line == "sent" and not (is_left or is_early):
                self.kills_while_paying += 1
                self._kill_later(pid, 0.15)
                is_left = True
        return is_over

    def _kill_later(self, pid: int, most_seconds: float) -> None:
        time.sleep(self.dice.uniform(0, most_seconds))
        with contextlib.suppress(ProcessLookupError):  # it came to the limit before
            os.kill(pid, signal.SIGKILL)
            self.kills += 1

    @contextmanager
    def _spender(self) -> Iterator[subprocess.Popen[str]]:
        arguments = (self.service.url, str(self.book_path), str(self.limit_micro_usd))
        with programs.started(
            [sys.executable, "-m", "tests.support.spender", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as spender:
            yield spender


def nonces_used(devnet: DevnetProcess, payer: str) -> set[str]:
    """The authorizations of a payer that moved money."""
    topics = [_USED, "0x" + payer[2:].lower().rjust(64, "0")]
    wish = {"fromBlock": "0x0", "toBlock": "latest", "address": USDC, "topics": topics}
    return {log["topics"][2] for log in devnet.rpc("eth_getLogs", wish)}
