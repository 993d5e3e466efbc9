"""OCI images from the operator's catalogue to a paid command, with shells that run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from tests.support import commands
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess

from pve402.domain import catalogue

SHIPPED = Path(catalogue.__file__).with_name("default_catalogue.toml").read_text()
SKU = "basic-lxc"  # the last of the shipped catalogue
IMAGES = """
images = ["python", "foreign", "shellless"]

[image.python]
oci = "docker.io/library/python:3.13-slim"
os = "Debian"

[image.foreign]
oci = "docker.io/arm64v8/busybox:1.36"

[image.shellless]
oci = "registry.k8s.io/pause:3.10"
"""


@pytest.fixture
def shop(serve: Callable[..., ServeProcess], tmp_path: Path) -> ServeProcess:
    """A server that sells three OCI images, as soon as one was tried."""
    file = tmp_path / "catalogue.toml"
    file.write_text(f"{SHIPPED}\n{IMAGES}")
    return serve(PVE402_CATALOGUE=str(file))


def test_a_paid_container_of_an_oci_image_runs_commands(shop: ServeProcess):
    container = _leased(shop, "python")

    said = container.run(command='echo "$PYTHON_VERSION $PATH $(id -u)"', env={"OTHER": "x"})
    own = container.run(command='echo "$LANG"', env={"LANG": "C"})

    assert said["stdout"].startswith("3.13.9 /usr/local/sbin:")
    assert said["stdout"].endswith(" 0\n")
    assert own["stdout"] == "C\n"
    _wait_for(shop, "oci_image_refused", 2)
    refused = [_wish(shop, name).status_code for name in ("foreign", "shellless")]
    assert 402 not in refused
    listed = requests.get(f"{shop.url}/catalogue", timeout=30).json()
    assert [image["name"] for image in listed["images"]] == ["python"]
    assert shop.process.said().count("no_shell") >= 2


def _leased(shop: ServeProcess, template: str) -> commands.Container:
    _wait_for(shop, "oci_image_on_sale", 1)
    for _ in range(200):
        if _wish(shop, template).status_code == 402:
            break
        time.sleep(0.1)
    return commands.lease(shop, sku=SKU, template=template)


def _wish(shop: ServeProcess, template: str) -> requests.Response:
    body = {**BODY, "sku": SKU, "template": template}
    return requests.post(f"{shop.url}/lease/container", json=body, timeout=30)


def _wait_for(shop: ServeProcess, event: str, times: int) -> None:
    give_up_at = time.monotonic() + 90
    while shop.process.said().count(event) < times:
        assert time.monotonic() < give_up_at, shop.process.said()[-3000:]
        time.sleep(0.1)
