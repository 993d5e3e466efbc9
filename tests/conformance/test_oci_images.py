"""Real OCI images beside the simulated ones, and what a real skopeo says when it gets none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from devnet.tests.support import pve_later_replay
from tests.support import oci_registry
from tests.support.oci_registry import Registry

from pve402.proxmox import errors, messages
from pve402_devnet.pve.registries import REGISTRIES

SIMULATED = (*pve_later_replay.IMAGES, *(one for known in REGISTRIES for one in known.images))
IMAGES = {f"{image.name}:{image.tag}": image for image in SIMULATED}
STEPS = ("Getting image source signatures", "Copying blob ", "Copying config ", "Writing manifest")

pytestmark = pytest.mark.skipif(
    not oci_registry.can_run(), reason="needs skopeo, umoci and docker-registry: see setup"
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with TLS that holds every simulated image."""
    with oci_registry.running(tmp_path_factory.mktemp("registry")) as made:
        for image in IMAGES.values():
            made.push(image)
        yield made


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_holds_what_the_simulated_one_says(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    archive, image = tmp_path / "image.tar", IMAGES[name]

    ended = registry.pull(f"{registry.host}/{name}", to=archive)

    assert ended.exit_code == 0, ended
    found = oci_registry.image_in(archive)
    assert found["architecture"] == image.architecture
    config = found["config"]
    assert tuple(config.get("Entrypoint") or ()) == image.entrypoint
    assert tuple(config.get("Cmd") or ()) == image.command
    assert tuple(config.get("Env") or ()) == image.environment
    assert tuple(config.get("Volumes") or ()) == image.volumes
    assert config.get("WorkingDir", "") == image.working_directory
    assert config.get("StopSignal", "") == image.stop_signal
    assert config.get("User", "") == (":".join(image.user[:2]) if image.user else "")


def test_a_pull_tells_the_steps_that_were_recorded(registry: Registry, tmp_path: Path) -> None:
    ended = registry.pull(f"{registry.host}/library/busybox:1.36", to=tmp_path / "image.tar")

    told = [step for line in ended.lines for step in STEPS if line.startswith(step)]
    assert list(dict.fromkeys(told)) == list(STEPS)


def test_an_image_for_another_machine_alone_is_pulled_without_a_word(
    registry: Registry, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"

    ended = registry.pull(f"{registry.host}/arm64v8/busybox:1.36", to=archive)

    assert ended.exit_code == 0
    assert not any("arm64" in line or "arch" in line.lower() for line in ended.lines)


def _why(ended: oci_registry.Ended, reference: str) -> type[errors.ProxmoxError]:
    """The class of the failure, as the task of Proxmox VE would tell it."""
    assert ended.exit_code != 0
    command = f"skopeo copy docker://{reference} oci-archive:/image.tar"
    status = f"command '{command}' failed: exit code {ended.exit_code}"
    return type(messages.classify_end(status, ended.lines, call=""))


def test_an_unknown_tag_or_name(registry: Registry, tmp_path: Path) -> None:
    for name in ("library/busybox:nosuch", "nosuch/image:1"):
        reference = f"{registry.host}/{name}"
        ended = registry.pull(reference, to=tmp_path / "image.tar")

        assert _why(ended, reference) is errors.ImageMissing
        assert not (tmp_path / "image.tar").exists()


def test_a_registry_that_wants_a_password(tmp_path: Path) -> None:
    with oci_registry.running(tmp_path, closed=True) as closed:
        reference = f"{closed.host}/library/busybox:1.36"

        assert _why(closed.pull(reference, to=tmp_path / "image.tar"), reference) is (
            errors.ImageRefused
        )


def test_a_registry_without_tls(tmp_path: Path) -> None:
    with oci_registry.running(tmp_path, plain=True) as plain:
        reference = f"{plain.host}/library/busybox:1.36"

        assert _why(plain.pull(reference, to=tmp_path / "image.tar"), reference) is (
            errors.RegistryUnreachable
        )


def test_a_certificate_that_nobody_knows(registry: Registry, tmp_path: Path) -> None:
    stranger = Registry(host=registry.host, folder=tmp_path, trusted=None)
    reference = f"{registry.host}/library/busybox:1.36"

    ended = stranger.pull(reference, to=tmp_path / "image.tar")

    assert _why(ended, reference) is errors.RegistryUnreachable


@pytest.mark.parametrize("host", ["127.0.0.1:1", "nosuch.invalid"])
def test_nobody_there(registry: Registry, tmp_path: Path, host: str) -> None:
    reference = f"{host}/library/busybox:1.36"

    ended = registry.pull(reference, to=tmp_path / "image.tar")

    assert _why(ended, reference) is errors.RegistryUnreachable
