"""A private image over HTTP: saved, the container ended, another one leased from what was saved."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

import pytest
from tests.support import processes
from tests.support.processes import DevnetProcess, ServeProcess

from pve402 import sdk
from pve402.client import refusals

RATE = "0.00004"
SKU = "basic-lxc"


@pytest.fixture(scope="module")
def selling(
    devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A server whose last sku offers private images."""
    folder = tmp_path_factory.mktemp("private")
    text = resources.files("pve402.domain").joinpath("default_catalogue.toml").read_text()
    file = folder / "catalogue.toml"
    file.write_text(f'{text}\nimage_gb_usd_minute = "{RATE}"\n')
    with processes.serving(folder, devnet, PVE402_CATALOGUE=str(file)) as made:
        yield made


def test_what_was_saved_is_there_and_nobody_elses(
    devnet: DevnetProcess, selling: ServeProcess
) -> None:
    key, stranger = devnet.wallet(), devnet.wallet()
    wish = {"minutes": 10, "sku": SKU, "memory_mb": 256, "disk_gb": 2}
    with sdk.Box.lease(selling.url, key=key.key.hex(), **wish) as box:
        box.files.write("/root/notes.txt", "from before")
        old_name = box.run("hostname").stdout
        box.stop()
        image = box.images.save("build-tools", minutes=60)
        assert [one.image_id for one in box.images.show().images] == [image.image_id]

    wish |= {"template": image.template, "hostname": "again"}
    with sdk.Box.lease(selling.url, key=key.key.hex(), **wish) as again:
        assert again.files.read_text("/root/notes.txt") == "from before"
        assert again.run("hostname").stdout == "again\n" != old_name
        with pytest.raises(refusals.Refused) as refused:
            sdk.Box.lease(selling.url, key=stranger.key.hex(), **wish)
        assert refused.value.code == "unknown_template"
        again.images.delete(image.image_id)
        assert all(one.end_reason for one in again.images.show().images)
        assert again.files.read_text("/root/notes.txt") == "from before"
