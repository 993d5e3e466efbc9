"""Whom the client takes for Proxmox: authority file, pinned fingerprint, or anybody."""

from dataclasses import replace

import pytest
from tests.support.fakepve import FakePve

from pve402.proxmox import errors
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.nodes import Nodes

pytestmark = pytest.mark.fakepve


async def release(options: ProxmoxOptions) -> str:
    async with ProxmoxClient(options) as client:
        return (await Nodes(client).version()).release


async def test_a_certificate_of_the_given_authority_is_trusted(options: ProxmoxOptions) -> None:
    assert await release(options) == "9.0"


async def test_a_certificate_nobody_vouches_for_is_rejected(options: ProxmoxOptions) -> None:
    with pytest.raises(errors.CertificateRejected):
        await release(replace(options, ca_file=None))


async def test_a_pinned_fingerprint_replaces_the_authority(
    options: ProxmoxOptions, fake: FakePve
) -> None:
    pinned = replace(options, ca_file=None, fingerprint_sha256=fake.certificate.fingerprint_sha256)

    assert await release(pinned) == "9.0"


async def test_another_fingerprint_is_rejected_before_anything_is_sent(
    options: ProxmoxOptions,
) -> None:
    with pytest.raises(errors.CertificateRejected) as caught:
        await release(replace(options, fingerprint_sha256="AB" * 32))
    assert options.password not in f"{caught.value} {caught.value.__cause__!r}"


async def test_a_console_goes_to_nobody_with_another_fingerprint(options: ProxmoxOptions) -> None:
    token = ProxmoxOptions(
        host=options.host,
        token_id="svc@pve!test",
        token_secret="topsecret",
        fingerprint_sha256="AB" * 32,
    )
    async with ProxmoxClient(token) as client:
        with pytest.raises(errors.Unreachable, match="Fingerprint") as caught:
            await client.open_websocket("pve", 100, 5900, "PVEVNC:topsecret")

    assert "topsecret" not in f"{caught.value} {caught.value.__cause__!r}"


async def test_checking_can_be_switched_off(options: ProxmoxOptions) -> None:
    assert await release(replace(options, ca_file=None, verify_ssl=False)) == "9.0"


async def test_a_name_the_certificate_does_not_hold_is_rejected(options: ProxmoxOptions) -> None:
    elsewhere = options.host.replace("127.0.0.1", "localhost")

    with pytest.raises(errors.CertificateRejected):
        await release(replace(options, host=elsewhere))


async def test_a_wrong_password_is_an_authentication_failure(options: ProxmoxOptions) -> None:
    with pytest.raises(errors.AuthenticationFailed):
        await release(replace(options, password="wrong"))
