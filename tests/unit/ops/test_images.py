"""`ops images` on nodes that cannot pull, and references that are none."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from tests.support import scripted_server

from pve402.domain.oci import Reference
from pve402.ops import images, main
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions


async def _pull(script: list[bytes]) -> int:
    async with scripted_server.running() as server:
        options = ProxmoxOptions(host=server.url, token_id="a@pve!b", token_secret="c")
        async with ProxmoxClient(options) as client:
            server.script = script
            parts: Any = SimpleNamespace(proxmox=client)
            wanted = images.Images(
                reference=Reference.parse("docker.io/library/busybox:1.36"),
                storage="local",
                nodes=("pve",),
            )
            return await wanted.pull(parts, Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (501, "Method 'POST /nodes/pve/...' not implemented", "9.1 is the first that does"),
        (
            403,
            "Permission check failed (/nodes/pve, Sys.AccessNetwork)",
            "Proxmox says that we lack a privilege (403): Permission check failed (/nodes/pve,",
        ),
        (500, "Install 'skopeo' to pull OCI images from registries.", "Install 'skopeo'"),
    ],
)
async def test_a_refusal_is_told(
    capsys: pytest.CaptureFixture[str], status: int, message: str, words: str
) -> None:
    listed = scripted_server.answer(200, "OK", b'{"data":[]}')
    refused = scripted_server.answer(status, message, b'{"data":null}')

    assert await _pull([listed, refused]) == 1

    assert words in capsys.readouterr().err


def test_a_reference_without_a_tag_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code = main.main(["images", "pull", "docker.io/library/python", "--storage", "local"])

    assert code == 2
    assert "has no tag; add one" in " ".join(capsys.readouterr().err.split())
