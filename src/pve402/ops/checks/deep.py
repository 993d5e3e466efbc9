"""The deep check: two throw-away guests show with real packets what guests can do and cannot.

made        two guests on one node, unfiltered; a third row only holds an address to forge
seen        created, started, a command, addresses, names; then all packets, which may arrive
isolated    one of the two as any tenant's guest, with its card down until its rules hold
seen again  names, and the same packets
removed     whatever happened, also after Ctrl-C; what is not gone then, the service removes
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Final, TypeVar

from pve402 import bootstrap, config
from pve402.domain import errors, lease, networks
from pve402.guests import probes
from pve402.leases import machine, workflow
from pve402.ops.checks import findings, packets
from pve402.ops.checks.findings import Finding, Verdict
from pve402.proxmox import errors as pve
from pve402.storage import proof_rows, queue

TARGET: Final = ("deb.debian.org", 80)
MAIL: Final = "gmail-smtp-in.l.google.com"
_ADDRESS_SECONDS = 20.0
_PAUSE_SECONDS = 0.5
_FAILURES = (
    pve.ProxmoxError,
    errors.Pve402Error,
    workflow.RetryLater,
    workflow.GiveUp,
    machine.GuestMovedError,
    queue.FenceLostError,
    TimeoutError,
)
_LOST = "another process took this over and removes it"

Tell = Callable[[Finding], None]
_Result = TypeVar("_Result")


class _Ended(Exception):
    """A step failed, and was told; the steps after it cannot be made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deep:
    """What to try, and where."""

    network: str | None = None  # None: the default one
    node: str | None = None  # None: wherever there is room
    target: tuple[str, int] = TARGET
    mail: str = MAIL
    private: tuple[tuple[str, int], ...] = ()
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, parts: bootstrap.Components, tell: Tell) -> None:
        """Make two guests, send packets, remove the guests; tell each finding as it comes."""
        profile = self._profile(parts)
        await _make_tables(parts)
        left = await parts.trials.remove_leftovers()
        if left:
            tell(findings.note("trial guests", f"{left} of an earlier check were removed"))
        count = 3 if profile.is_isolated and _ipv4_pool(profile) else 2
        try:
            async with parts.trials.reserved(profile, self.node, count) as rows:
                await _Run(deep=self, parts=parts, tell=tell, profile=profile, rows=rows).run()
        except (errors.NoCapacity, errors.ProxmoxUnavailable, errors.UnknownSku) as error:
            where = f" on {self.node}" if self.node else ""
            tell(findings.bad("trial guests", f"no room for {count}{where}: {error}"))

    def _profile(self, parts: bootstrap.Components) -> networks.NetworkProfile:
        """Return the network to try. Raises Stop."""
        sold = parts.leases.catalogue.networks_on_sale
        usual = parts.leases.catalogue.default_network
        name = self.network or (usual if usual in sold else next(iter(sold)))
        if name not in sold:
            detail = f"is not on sale; on sale are {', '.join(sorted(sold))}"
            raise findings.Stop(findings.bad(f"network {name[:32]}", detail))
        return sold[name]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """One check with its guests."""

    deep: Deep
    parts: bootstrap.Components
    tell: Tell
    profile: networks.NetworkProfile
    rows: list[lease.Lease]

    async def run(self) -> None:
        """Make the guests and send packets; remove the guests in any case."""
        try:
            await self._examine()
        except _Ended:
            pass
        finally:
            await self._remove()

    async def _examine(self) -> None:
        node = self.rows[0].node
        if self.profile.is_isolated:
            self.parts.firewalls.try_out(node)
            await self.parts.firewalls.look()
            if self.parts.firewalls.problem is not None:
                self.tell(findings.bad("isolation", self.parts.firewalls.problem))
                raise _Ended
        pair = await _all(self._make(row) for row in self.rows[:2])
        places = await self._places(pair)
        found = packets.claims(self.profile, places)
        async with self._step("packets without rules"):
            before = await self._send(found, pair)
        if not self.profile.is_isolated:
            for claim in found:
                self.tell(packets.describe(claim, before))
            return
        async with self._step("isolated, and connected again"):
            pair[0] = await self.parts.trials.isolate(pair[0], self.deep.sleep)
        if self.profile.egress is not networks.Egress.NONE:
            await self._resolve_target(pair[0], "names with rules")
        async with self._step("packets with rules"):
            after = await self._send(found, pair)
        shown = [packets.judge(claim, before, after) for claim in found]
        for finding in shown:
            self.tell(finding)
        await self._note_proof(node, shown)

    async def _make(self, row: lease.Lease) -> lease.Lease:
        async with self._step(f"guest {row.vmid} on {row.node}: created"):
            row = await self.parts.trials.create(row)
        async with self._step(f"guest {row.vmid}: started"):
            await self.parts.trials.start(row)
        async with self._step(f"guest {row.vmid}: a command"):
            await self.parts.probes.greet(row)
        return row

    async def _places(self, pair: list[lease.Lease]) -> packets.Places:
        """Find out whom to send to. Raises _Ended if a guest has no address."""
        own, other = await _all(self._addresses(row) for row in pair)
        target = await self._resolve_target(pair[0], "names")
        mail = await self._addresses_of(pair[0], self.deep.mail)
        versions = {ip_address(one).version for one in own}
        nodes = self.parts.firewalls.addresses_of_nodes(first=pair[0].node)
        spare = self.rows[2].addresses.get("ipv4") if len(self.rows) > 2 else None
        return packets.Places(
            own=own,
            other=other,
            nodes=tuple(one for one in nodes if ip_address(one).version in versions),
            target=packets.first_addresses(target, own),
            target_port=self.deep.target[1],
            mail=packets.first_addresses(mail, own),
            private=self.deep.private,
            spare=spare,
        )

    async def _addresses(self, row: lease.Lease) -> tuple[str, ...]:
        """Wait until a guest has the addresses it should have."""
        wanted = frozenset(row.addresses.values())
        async with self._step(f"guest {row.vmid}: an address"):
            deadline = time.monotonic() + _ADDRESS_SECONDS
            while time.monotonic() < deadline:
                found = await self.parts.probes.own_addresses(row)
                if found and wanted <= found:
                    return tuple(sorted(wanted or found))
                await self.deep.sleep(_PAUSE_SECONDS)
            lacks = ", ".join(sorted(wanted)) or "an address"
            raise TimeoutError(f"the guest does not have {lacks}")

    async def _resolve_target(self, row: lease.Lease, what: str) -> tuple[str, ...]:
        name = self.deep.target[0]
        if probes.is_address(name):
            said = f"the target {name} is an address; name a host with --target to show names"
            self.tell(findings.unknown(what, said))
            return (name,)
        found: tuple[str, ...] = ()
        with contextlib.suppress(_Ended):
            async with self._step(what):
                found = await self._addresses_of(row, name)
                if not found:
                    raise TimeoutError(f"{name} has no address, as the guest says")
        return found

    async def _addresses_of(self, row: lease.Lease, name: str) -> tuple[str, ...]:
        if probes.is_address(name):
            return (name,)
        return await self.parts.probes.resolve(row, name)

    async def _send(self, found: list[packets.Claim], pair: list[lease.Lease]) -> packets.Fates:
        """Send all probes, each once, from the guest that each is of.

        Those of a forged card come last, since nobody finds the guest meanwhile.
        """
        own = _probes_of(found, by_other=False)
        plain = [probe for probe in own if probe.card is None]
        sent = await _all(
            self.parts.probes.send(row, some)
            for row, some in zip(pair, (plain, _probes_of(found, by_other=True)), strict=True)
        )
        forged = [probe for probe in own if probe.card is not None]
        return sent[0] | sent[1] | await self.parts.probes.send(pair[0], forged)

    async def _note_proof(self, node: str, shown: list[Finding]) -> None:
        """Keep that this node isolates, or forget it once a packet passed."""
        verdicts = {finding.verdict for finding in shown} - {Verdict.NOTE}
        now = await self.parts.firewalls.filter_of(node)
        said = f"{now.program} {now.version or 'of unknown version'}"
        db = self.parts.db
        async with db.begin() as tx:
            if Verdict.FAIL in verdicts:
                await proof_rows.remove(tx, node)
            elif verdicts == {Verdict.OK}:
                await proof_rows.put(db, tx, node, program=now.program, version=now.version)
        if verdicts == {Verdict.OK}:
            self.tell(findings.good(f"node {node}", f"isolates guests, with {said}"))

    async def _remove(self) -> None:
        began = time.monotonic()
        trials = self.parts.trials
        reasons = await asyncio.gather(
            *(trials.remove_held(row, self.deep.sleep) for row in self.rows)
        )
        seconds = time.monotonic() - began
        for row, reason in zip(self.rows, reasons, strict=True):
            if reason is not None:
                mend = "the running service does it, or the next `pve402 ops doctor --deep`"
                said = f"is not removed yet: {reason}"
                self.tell(findings.bad(f"guest {row.vmid}", said, mend=mend))
        if not any(reasons):
            self.tell(findings.good("everything removed", f"{seconds:.1f} s"))

    @contextlib.asynccontextmanager
    async def _step(self, what: str) -> AsyncIterator[None]:
        """Tell how many seconds a step took, or why it failed; raises _Ended then."""
        began = time.monotonic()
        try:
            yield
        except _FAILURES as error:
            lost = isinstance(error, queue.FenceLostError)
            self.tell(findings.bad(what, _LOST if lost else workflow.reason_of(error)))
            raise _Ended from error
        self.tell(findings.good(what, f"{time.monotonic() - began:.1f} s"))


async def _all(works: Iterable[Awaitable[_Result]]) -> list[_Result]:
    """Wait for all, then raise what one of them raised: none is left running."""
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    found: list[_Result] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        found.append(outcome)
    return found


async def _make_tables(parts: bootstrap.Components) -> None:
    """Make the tables if the service never ran; without its key, its guests would be strangers'."""
    if not config.is_key_kept(parts.settings):
        mend = "start the service once, or set it"
        detail = "is not there yet, and guests are marked by it"
        raise findings.Stop(
            findings.bad("secret key", detail, variable="PVE402_SECRET_KEY", mend=mend)
        )
    if not await parts.db.has_tables():
        await parts.open()


def _probes_of(found: list[packets.Claim], *, by_other: bool) -> list[probes.Probe]:
    some = (probe for claim in found if claim.by_other is by_other for probe in claim.probes)
    return list(dict.fromkeys(some))


def _ipv4_pool(profile: networks.NetworkProfile) -> bool:
    return any(pool.version == 4 for pool in profile.pools)
