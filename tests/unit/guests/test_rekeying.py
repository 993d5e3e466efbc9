"""What is run in a guest before and after it is paid for, by its origin."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import fake_leases

from pve402.domain import lease, private_images
from pve402.guests import host_keys, rekeying
from pve402.leases import machine, warm_guests, workflow

LEASE = lease.new_lease_id()
RENEWAL = host_keys.renewal(LEASE)
SECRETS = machine.Secrets(password="only-for-me")


class Shell:
    """Notes what it runs; the renewal of host keys ends as told."""

    def __init__(self, renewal_ends: int = 0) -> None:
        self.ran: list[str] = []
        self.listed: list[Any] = []
        self.told: list[bytes | None] = []
        self._renewal_ends = renewal_ends

    async def exec(self, _ref: Any, wish: Any) -> Any:
        self.ran.append(wish.command)
        self.listed += [wish] if not wish.is_ours else []
        self.told.append(wish.stdin)
        return SimpleNamespace(exit_code=self._renewal_ends if wish.command == RENEWAL else 0)


def rekeyer(shell: Shell) -> rekeying.TerminalRekeying:
    return rekeying.TerminalRekeying(shell)  # type: ignore[arg-type]


async def test_a_clone_gets_host_keys_of_its_own_before_and_at_the_hand_over() -> None:
    shell, row = Shell(), fake_leases.make_lease("somebody").evolve(base="an-image", lease_id=LEASE)

    await rekeyer(shell).check(row)
    before = list(shell.ran)
    await rekeyer(shell).rekey(row, SECRETS)

    assert shell.listed == [], "a tenant's list of commands shows only the tenant's own"
    assert before.count(RENEWAL) == 1
    assert shell.ran.count(RENEWAL) == 2
    assert len(shell.ran) == 4


async def test_another_guest_keeps_its_host_keys() -> None:
    shell, row = Shell(), fake_leases.make_lease("somebody")

    await rekeyer(shell).check(row)
    await rekeyer(shell).rekey(row, SECRETS)

    assert RENEWAL not in shell.ran


async def test_a_clone_that_keeps_its_images_host_keys_is_not_sold() -> None:
    shell, row = (
        Shell(renewal_ends=4),
        fake_leases.make_lease("somebody").evolve(base="an-image", lease_id=LEASE),
    )

    with pytest.raises(warm_guests.NotReady):
        await rekeyer(shell).check(row)
    with pytest.raises(workflow.RetryLater):
        await rekeyer(shell).rekey(row, SECRETS)


async def test_what_opened_the_source_of_an_image_does_not_open_a_copy() -> None:
    shell, template = Shell(), private_images.template_of(lease.new_lease_id())
    row = fake_leases.make_lease("somebody").evolve(template=template)
    plain = fake_leases.make_lease("somebody")

    await rekeyer(shell).rekey(row, machine.Secrets(ssh_public_keys=("ssh-ed25519 AAAA me",)))
    await rekeyer(shell).rekey(plain, machine.Secrets(password=None))

    of_copy, of_plain = shell.ran
    told = [(stdin or b"").decode().splitlines() for stdin in shell.told]
    assert told[0][1:] == ["*", "ssh-ed25519 AAAA me"]
    assert "rm -f /root/.ssh/authorized_keys" in of_copy
    assert told[1][1:] == [""]
    assert "rm -f" not in of_plain
