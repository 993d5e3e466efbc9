"""Simulated registries of OCI images, and what skopeo says when it cannot copy one.

Nothing here opens a socket: a registry is a list of images. A host name without a registry does not
resolve, and nothing listens on an address without one.
"""

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pve402_devnet.pve import runtime

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
REFERENCE = (
    rf"(?:{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
)
"""What the pattern of the official API schema matches, without its many ways to match it."""

_SAFE = re.compile(r"[^a-zA-Z0-9_.-]")
_DEFAULT_HOST, _DEFAULT_FOLDER = "docker.io", "library"
_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAME_SERVER = "10.255.255.53:53"
_NO_SUCH_IMAGE, _ANY_OTHER = 2, 1  # skopeo's exit codes


class Listener(Enum):
    """What answers on a registry's port."""

    REGISTRY = "registry"  # TLS, with a certificate that the node trusts
    PLAIN = "plain"  # HTTP without TLS
    UNTRUSTED = "untrusted"  # TLS, with a certificate that nobody knows


@dataclass(frozen=True, kw_only=True)
class OciImage:
    """An image of a registry; most fields are those of its configuration.

    `shell_architecture` is that of its /bin/sh, None where it has none; the file and `architecture`
    may differ, as nobody checks. `guest` is what guests made of it run, in the words of the guests'
    templates. `user` is what the image's own /etc/passwd makes of it: uid, gid and groups.
    """

    name: str
    tag: str = "latest"
    architecture: str = "amd64"
    shell_architecture: str | None = "amd64"
    os_type: str = "unmanaged"
    guest: str = "busybox"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = (_DEFAULT_PATH,)
    user: tuple[str, str, str] | None = None
    working_directory: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    size_bytes: int = 1_079_808
    unpacked_bytes: int = 2_201_600
    is_slow: bool = False

    @property
    def layer_digest(self) -> str:
        """The name of its layer's blob."""
        return _digest(self.name, self.tag, str(self.unpacked_bytes))

    @property
    def config_digest(self) -> str:
        """The name of its configuration's blob."""
        return _digest(repr(self))


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A host with images. Below the folder `private` it wants to know who asks."""

    host: str
    images: tuple[OciImage, ...] = ()
    listener: Listener = Listener.REGISTRY
    private: str = ""


REGISTRIES = (
    Registry(
        host=_DEFAULT_HOST,
        images=(
            OciImage(name="library/busybox", tag="1.36", command=("sh",)),
            OciImage(
                name="library/python",
                tag="3.13-slim",
                os_type="debian",
                guest="debian",
                command=("python3",),
                environment=(_DEFAULT_PATH, "LANG=C.UTF-8", "PYTHON_VERSION=3.13.9"),
                size_bytes=45_000_192,
                unpacked_bytes=122_000_384,
            ),
            OciImage(
                name="library/hello-world",
                shell_architecture=None,
                guest=runtime.WITHOUT_SHELL,
                command=("/hello",),
                size_bytes=16_896,
                unpacked_bytes=20_480,
            ),
            OciImage(
                name="arm64v8/busybox",
                tag="1.36",
                architecture="arm64",
                shell_architecture="arm64",
                command=("sh",),
            ),
        ),
    ),
    Registry(
        host="registry.k8s.io",
        images=(
            OciImage(
                name="pause",
                tag="3.10",
                shell_architecture=None,
                guest=runtime.WITHOUT_SHELL,
                entrypoint=("/pause",),
                user=("65535", "65535", ""),
                working_directory="/",
                size_bytes=326_144,
                unpacked_bytes=737_280,
            ),
        ),
    ),
)
"""Images that people know: with a shell, without one, for another machine, one that ends."""


class PullFailed(Exception):
    """skopeo gives up; `exit_code` and `reason` are its own."""

    def __init__(self, exit_code: int, reason: str) -> None:
        super().__init__(reason)
        self.exit_code = exit_code
        self.reason = reason


def file_name(wanted: str) -> str:
    """The file of an image: of a path the last part, without unusual characters, and `.tar`."""
    return _SAFE.sub("_", re.split(r"[/\\]", wanted)[-1]) + ".tar"


def find(registries: Iterable[Registry], reference: str) -> OciImage:
    """Look an image up as skopeo does; raises PullFailed."""
    host, name, tag = _split(reference)
    registry = next((one for one in registries if one.host == host), None)
    if registry is None:
        raise _no_answer(host, _unreachable(host))
    if registry.listener is Listener.PLAIN:
        raise _no_answer(host, "tls: first record does not look like a TLS handshake")
    if registry.listener is Listener.UNTRUSTED:
        raise _no_answer(
            host,
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        )
    place = f"reading manifest {tag} in {_short(host, name)}"
    if registry.private and name.startswith(f"{registry.private}/"):
        raise PullFailed(_ANY_OTHER, f"{place}: unauthorized")
    for image in registry.images:
        if (image.name, image.tag) == (name, tag):
            return image
    raise PullFailed(_NO_SUCH_IMAGE, f"{place}: manifest unknown")


def shortest(reference: str) -> str:
    """A reference as skopeo repeats it: without what goes without saying."""
    host, name, tag = _split(reference)
    return f"{_short(host, name)}:{tag}"


def _split(reference: str) -> tuple[str, str, str]:
    """A reference's host, name and tag, with the defaults of Docker."""
    path, _, tag = reference.rpartition(":")
    first, slash, rest = path.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        host, name = first, rest
    else:
        host, name = _DEFAULT_HOST, path
    if host == _DEFAULT_HOST and "/" not in name:
        name = f"{_DEFAULT_FOLDER}/{name}"
    return host, name, tag


def _short(host: str, name: str) -> str:
    if host != _DEFAULT_HOST:
        return f"{host}/{name}"
    return name.removeprefix(f"{_DEFAULT_FOLDER}/")


def _no_answer(host: str, reason: str) -> PullFailed:
    server = _server(host)
    return PullFailed(
        _ANY_OTHER, f'pinging container registry {server}: Get "https://{server}/v2/": {reason}'
    )


def _server(host: str) -> str:
    return "registry-1.docker.io" if host == _DEFAULT_HOST else host


def _unreachable(host: str) -> str:
    bare, _, port = host.partition(":")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        server = _server(host).partition(":")[0]
        return (
            f"dial tcp: lookup {server} on {_NAME_SERVER}: dial udp {_NAME_SERVER}: connect:"
            " network is unreachable"
        )
    return f"dial tcp {bare}:{port or 443}: connect: connection refused"


def _digest(*parts: str) -> str:
    return "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()
