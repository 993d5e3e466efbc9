"""Real OCI images on loopback: built by umoci, kept by docker-registry, pulled by skopeo."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import certificates, programs, project

from pve402_devnet.pve.registries import OciImage

_LIMIT_SECONDS = 120
_CONFIG = """version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: 127.0.0.1:{port}{tls}}}
{auth}
"""
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


def registry_program() -> str | None:
    """Debian's docker-registry: the machine's own, or the one that setup has unpacked."""
    unpacked = project.ROOT / ".cache/docker-registry/root/usr/bin"
    return shutil.which("docker-registry") or shutil.which("docker-registry", path=str(unpacked))


def can_run() -> bool:
    """Whether all three programs are here."""
    return all((registry_program(), shutil.which("skopeo"), shutil.which("umoci")))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How skopeo ended, and what it wrote."""

    exit_code: int
    lines: list[str]


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registry on loopback; whoever has `trusted` as their certificate trusts it."""

    host: str
    folder: Path
    trusted: Path | None

    def push(self, image: OciImage) -> None:
        """Build an image with this configuration and put it there."""
        layout = self.folder / f"{image.name.replace('/', '-')}-{image.tag}"
        place = f"{layout}:{image.tag}"
        self._run("umoci", "init", "--layout", str(layout))
        self._run("umoci", "new", "--image", place)
        layer = self.folder / "layer.tar"
        with tarfile.open(layer, "w") as opened:
            opened.addfile(tarfile.TarInfo("etc/empty"))
        self._run("umoci", "raw", "add-layer", "--image", place, str(layer))
        self._run("umoci", "config", "--image", place, *_settings(image))
        target = f"docker://{self.host}/{image.name}:{image.tag}"
        ended = self.skopeo("copy", f"oci:{place}", target)
        assert ended.exit_code == 0, ended

    def pull(self, reference: str, *, to: Path) -> Ended:
        """Do what Proxmox VE's worker does."""
        return self.skopeo("copy", f"docker://{reference}", f"oci-archive:{to}")

    def skopeo(self, *arguments: str) -> Ended:
        """Run skopeo as a node that trusts this registry's certificate, if it has one."""
        done = subprocess.run(
            ["skopeo", *arguments],
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
        return Ended(exit_code=done.returncode, lines=done.stdout.splitlines())

    def _environment(self) -> dict[str, str]:
        policy = self.folder / ".config/containers/policy.json"
        policy.parent.mkdir(parents=True, exist_ok=True)
        policy.write_text(_POLICY)
        trusted = {"SSL_CERT_FILE": str(self.trusted)} if self.trusted else {}
        home = {"HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder)}
        return {**os.environ, **home, **trusted}

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=_LIMIT_SECONDS)


@contextlib.contextmanager
def running(folder: Path, *, plain: bool = False, closed: bool = False) -> Iterator[Registry]:
    """Run a registry: `plain` without TLS, `closed` to whoever has no password."""
    program = registry_program()
    assert program is not None
    made = certificates.make(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tls = f", tls: {{certificate: {made.certificate}, key: {made.key}}}"
    (folder / "nobody").touch()
    auth = f"auth: {{htpasswd: {{realm: r, path: {folder}/nobody}}}}"
    config = folder / "config.yml"
    config.write_text(
        _CONFIG.format(
            folder=folder, port=port, tls="" if plain else tls, auth=auth if closed else ""
        )
    )
    with programs.running(
        [program, "serve", config], is_ready=lambda lines: any("listening on" in x for x in lines)
    ):
        trusted = None if plain else made.certificate
        yield Registry(host=f"127.0.0.1:{port}", folder=folder, trusted=trusted)


def image_in(archive: Path) -> dict[str, Any]:
    """The configuration of the one image in an archive, as a node finds it."""
    with tarfile.open(archive) as opened:

        def blob(digest: str) -> dict[str, Any]:
            return read(f"blobs/{digest.replace(':', '/')}")

        def read(name: str) -> dict[str, Any]:
            member = opened.extractfile(name)
            assert member is not None
            found: dict[str, Any] = json.load(member)
            return found

        assert {"oci-layout", "index.json"} <= set(opened.getnames())
        (listed,) = read("index.json")["manifests"]
        return blob(blob(listed["digest"])["config"]["digest"])


def _settings(image: OciImage) -> Sequence[str]:
    """An image's fields as umoci takes them."""
    user = ":".join(image.user[:2]) if image.user else ""
    pairs = (
        *(("--config.entrypoint", one) for one in image.entrypoint),
        *(("--config.cmd", one) for one in image.command),
        *(("--config.env", one) for one in image.environment),
        *(("--config.volume", one) for one in image.volumes),
        ("--config.user", user),
        ("--config.workingdir", image.working_directory),
        ("--config.stopsignal", image.stop_signal),
        ("--architecture", image.architecture),
    )
    return [f"{name}={value}" for name, value in pairs if value]
