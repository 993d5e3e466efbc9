"""Operators see what became of each OCI image, and have one tried again."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console
from tests.support import oci
from tests.support.installation import Installation

from pve402.bootstrap import rights
from pve402.ops import image_list
from pve402.ops.checks import findings
from pve402.ops.checks import oci as checks
from pve402.proxmox import nodes, roles
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator


@pytest.fixture
async def shop(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> AsyncIterator[Installation]:
    """An installation that sells a busybox."""
    oci.catalogue(tmp_path)
    async with (
        oci.proxmox() as cluster,
        oci.selling(tmp_path, (cluster, chain, facilitator)) as made,
    ):
        yield made


async def _listed(shop: Installation) -> str:
    screen = Console(file=io.StringIO(), width=300)
    assert await image_list.show(shop.parts, screen) == 0
    return screen.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO


async def test_the_list_says_what_a_trial_showed(
    shop: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.shells.answers = False
    await oci.tried(shop, "no_shell")
    told = await _listed(shop)
    capsys.readouterr()

    await image_list.show(shop.parts, Console(), as_json=True)

    (facts,) = json.loads(_json_in(capsys.readouterr().out))
    assert "refused" in told
    assert (facts["images"], facts["cause"], facts["state"]) == (["box"], "no_shell", "refused")
    assert facts["file"] == oci.BUSYBOX.volume("local")
    assert facts["sizeBytes"] > 0


def _json_in(said: str) -> str:
    """Return what was printed besides the log."""
    return said[said.index("[\n") : said.rindex("]") + 1]


async def test_an_image_is_tried_again_on_demand(shop: Installation) -> None:
    shop.shells.answers = False
    await oci.tried(shop, "no_shell")
    shop.shells.answers = True

    code = await image_list.retry(shop.parts, Console(file=io.StringIO()), name="box")
    await oci.tried(shop)

    assert code == 0
    assert "on sale" in await _listed(shop)
    assert oci.pulls(shop) == 1


async def test_only_an_oci_image_is_tried(
    shop: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await image_list.retry(shop.parts, Console(), name="nosuch") == 1
    assert "no OCI image 'nosuch'" in capsys.readouterr().err


async def test_the_doctor_says_what_came_of_each_file(shop: Installation) -> None:
    (before,) = await checks.on_sale(shop.parts)
    await oci.tried(shop)
    (passed,) = await checks.on_sale(shop.parts)
    shop.shells.answers = False
    await image_list.retry(shop.parts, Console(file=io.StringIO()), name="box")
    await oci.tried(shop, "no_shell")
    (refused,) = await checks.on_sale(shop.parts)

    assert before.verdict is findings.Verdict.NOTE
    assert (passed.verdict, passed.detail) == (findings.Verdict.OK, "on sale")
    assert refused.verdict is findings.Verdict.FAIL
    assert "no_shell" in refused.text


async def test_the_doctor_says_that_proxmox_is_too_old(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def old(_: object) -> nodes.Version:
        return nodes.Version(release="9.0", version="9.0.11")

    monkeypatch.setattr(nodes.Nodes, "version", old)

    (found,) = await checks.on_sale(shop.parts)

    assert found.verdict is findings.Verdict.FAIL
    assert "9.1 is the first" in found.text


async def test_pulls_need_rights_on_the_storage_and_on_the_node(shop: Installation) -> None:
    parts = shop.parts
    needs = rights.needs(parts.settings, parts.leases.catalogue, "pve")

    granted = {one.path: one.role for one in roles.grants([needs])}

    assert granted["/storage/local"] == roles.PULL_STORAGE.name
    assert granted["/nodes/pve"] == roles.PULL_NODE.name
    assert rights.templates(parts.settings, parts.leases.catalogue, "pve") == {
        parts.settings.pve_os_template
    }
