"""What a simulated cluster consists of, and how fast it is."""

from dataclasses import dataclass, field, fields, replace
from enum import Enum

from pve402_devnet.pve.registries import REGISTRIES, OciImage, Registry


class Progress(Enum):
    """How simulated time passes."""

    IMMEDIATELY = "immediately"  # work takes no time; limits are real seconds
    BY_TICK = "tick"  # nothing ends until the clock is ticked
    BY_TIME = "time"  # work takes the seconds it took on a real machine, scaled


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Seconds of work, measured on Proxmox VE 9.2 with a small image.

    `addresses` and `dhcp` count from when a guest reads as running: until it tells its interfaces,
    and until one that asks for an address has it. `firewall` is the time between two looks at the
    firewall's files.
    """

    call: float = 0.010
    protected_call: float = 0.045
    create: float = 0.5
    unpack_slow: float = 12.5
    start: float = 1.4
    addresses: float = 0.45
    dhcp: float = 3.25
    firewall: float = 10.0
    stop: float = 1.1
    shutdown: float = 3.0
    destroy: float = 0.13
    resize: float = 22.0
    clone: float = 0.9
    linked_clone: float = 0.12
    pull: float = 0.3
    pull_slow: float = 15.0
    snapshot: float = 0.12
    rollback: float = 0.12
    interrupt: float = 3.0
    kill: float = 5.0

    def scaled(self, factor: float) -> "Latencies":
        """Multiply every figure."""
        return replace(self, **{f.name: getattr(self, f.name) * factor for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """One machine of the cluster. Sizes in bytes."""

    name: str = "pve"
    cpus: int = 2
    memory_bytes: int = 25_276_510_208
    address: str = "10.99.0.1"
    bridges: tuple[str, ...] = ("vmbr0",)
    online: bool = True
    packages: tuple[tuple[str, str], ...] = (
        ("pve-firewall", "6.0.4"),
        ("proxmox-firewall", "1.2.1"),
    )


@dataclass(frozen=True, kw_only=True)
class StorageOptions:
    """A storage; without `nodes` it is there on every node.

    Of type `dir` or `btrfs` it keeps images as files below `path`; of type `lvmthin` it keeps
    logical volumes in the volume group `volume_group`.
    """

    name: str = "local"
    type: str = "dir"
    path: str = "/var/lib/vz"
    volume_group: str = "pve"
    content: tuple[str, ...] = (
        "vztmpl",
        "iso",
        "backup",
        "snippets",
        "import",
        "images",
        "rootdir",
    )
    total_bytes: int = 270_553_174_016
    used_bytes: int = 37_000_028_160
    shared: bool = False
    nodes: tuple[str, ...] = ()
    largest_volume_bytes: int = 16 * 1024**4
    snapshots: bool = False


LOCAL_LVM = StorageOptions(
    name="local-lvm",
    type="lvmthin",
    path="",
    content=("images", "rootdir"),
    total_bytes=374_538_764_288,
    used_bytes=0,
    snapshots=True,
)
"""What the installer of Proxmox VE makes beside `local`: a thin pool for disks alone."""


class TemplateBehaviour(Enum):
    """What happens when a template is unpacked."""

    GOOD = "good"  # unpacks
    SLOW = "slow"  # unpacks, and takes its time; needs more than 2 GiB
    CORRUPT = "corrupt"  # tar gives up
    WARNS = "warns"  # unpacks, the set-up warns about a version it does not know
    NO_OS = "no_os"  # unpacks, nothing says which system it is


@dataclass(frozen=True, kw_only=True)
class TemplateOptions:
    """One template file of a storage. `unpacked_bytes` is what tar reads.

    `systemd` is the version of its init; None is another init, which needs no nesting. With `image`
    it is the archive of an OCI image.
    """

    storage: str = "local"
    name: str
    size_bytes: int
    unpacked_bytes: int = 2_201_600
    os_type: str = "alpine"
    systemd: int | None = None
    behaviour: TemplateBehaviour = TemplateBehaviour.GOOD
    created_at: int = 1_795_284_202
    image: OciImage | None = None


DEBIAN = TemplateOptions(
    name="debian-12-standard_12.12-1_amd64.tar.zst",
    size_bytes=126_515_062,
    os_type="debian",
    systemd=252,
)
"""What most people download first."""

TEMPLATES = (
    TemplateOptions(name="busybox-alpine-3.22_1_amd64.tar.gz", size_bytes=1_072_843),
    TemplateOptions(
        name="corrupt_1_amd64.tar.gz", size_bytes=300_000, behaviour=TemplateBehaviour.CORRUPT
    ),
    TemplateOptions(
        name="fakedeb_1_amd64.tar.gz",
        size_bytes=1_072_740,
        os_type="debian",
        behaviour=TemplateBehaviour.WARNS,
    ),
    TemplateOptions(
        name="noos_1_amd64.tar.gz",
        size_bytes=1_072_732,
        os_type="unmanaged",
        behaviour=TemplateBehaviour.NO_OS,
    ),
    TemplateOptions(
        name="slow_1_amd64.tar",
        size_bytes=2_202_204_160,
        unpacked_bytes=2_202_204_160,
        behaviour=TemplateBehaviour.SLOW,
    ),
)


@dataclass(frozen=True, kw_only=True)
class TokenOptions:
    """An API token. Without a secret one is drawn at random."""

    user: str
    name: str
    privilege_separated: bool = True
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class AclOptions:
    """A role for a user or a token on a path, inherited below it."""

    path: str
    who: str
    role: str


@dataclass(frozen=True, kw_only=True)
class AccessOptions:
    """Users, tokens, roles and rights the cluster starts with, beside root@pam."""

    passwords: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    roles: tuple[tuple[str, tuple[str, ...]], ...] = ()
    tokens: tuple[TokenOptions, ...] = ()
    acl: tuple[AclOptions, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SimulatorOptions:
    """All options of a simulated cluster. Times are in seconds.

    With `callers_address` the first node sees its callers come from there, and its firewall decides
    whether they get a new connection to the API; without it, every call comes from the node itself.
    """

    host: str = "127.0.0.1"
    port: int = 0
    control_port: int | None = None
    tls: bool = False
    callers_address: str = ""
    nodes: tuple[NodeOptions, ...] = (NodeOptions(),)
    storages: tuple[StorageOptions, ...] = (StorageOptions(),)
    templates: tuple[TemplateOptions, ...] = TEMPLATES
    registries: tuple[Registry, ...] = REGISTRIES
    access: AccessOptions = AccessOptions()
    root_password: str = field(default="", repr=False)
    progress: Progress = Progress.BY_TIME
    latencies: Latencies = Latencies()
    latency_scale: float = 1.0
    auth_failure_seconds: float = 3.0
    publish_interval_seconds: float = 10.0
    proxy_timeout_seconds: float = 30.0
    daemon_workers: int = 3
    exec_endpoint: bool = False
    privileged_by_default: bool = False
