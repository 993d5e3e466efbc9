"""What a container's configuration may hold (PVE::LXC::Config): one table for create and change."""

from dataclasses import replace

from pve402_devnet.pve.schema import Properties, Property

NEW_DISK = r"([^:\s]+):(\d+(?:\.\d+)?)"
"""A rootfs or mount point of this form asks for a new volume: storage and size in GiB."""

NETWORKS = 32
MOUNT_POINTS = 256
UNUSED_VOLUMES = 256
DEVICES = 256

_MOUNT_OPTION = r"(?:discard|lazytime|noatime|nodev|noexec|nosuid)"
_MAPPING = r"[ug]:[0-9]+:[0-9]+:[1-9][0-9]*"
_NO_CONTROLS = r"[^\x00-\x08\x0a-\x1F\x7F]"


def flag() -> Property:
    """An optional boolean."""
    return Property(type="boolean", optional=True)


def number(minimum: int | None = None, maximum: int | None = None) -> Property:
    """An optional integer."""
    return Property(type="integer", optional=True, minimum=minimum, maximum=maximum)


def text(
    *,
    format: str | None = None,  # noqa: A002 - the schema's own word
    pattern: str | None = None,
    max_length: int | None = None,
    enum: tuple[str, ...] = (),
) -> Property:
    """An optional string."""
    return Property(optional=True, format=format, pattern=pattern, max_length=max_length, enum=enum)


FEATURES: Properties = {
    "mount": text(pattern=r"[a-zA-Z0-9_; ]+"),
    "nesting": flag(),
    "keyctl": flag(),
    "fuse": flag(),
    "mknod": flag(),
    "force_rw_sys": flag(),
}

NETWORK: Properties = {
    "type": text(enum=("veth",)),
    "name": Property(pattern=r"[-_.\w\d]+"),
    "bridge": text(pattern=r"[-_.\w\d]+"),
    "hwaddr": text(format="mac-addr"),
    "mtu": number(64, 65535),
    "ip": text(format="pve-ipv4-config"),
    "gw": text(format="ipv4"),
    "ip6": text(format="pve-ipv6-config"),
    "gw6": text(format="ipv6"),
    "firewall": flag(),
    "tag": number(1, 4094),
    "trunks": text(pattern=r"\d+(?:;\d+)*"),
    "rate": Property(type="number", optional=True),
    "link_down": flag(),
    "host-managed": flag(),
}

ROOT_VOLUME: Properties = {
    "volume": Property(format="pve-lxc-mp-string", default_key=True),
    "size": text(format="disk-size"),
    "acl": flag(),
    "mountoptions": text(pattern=rf"{_MOUNT_OPTION}(?:;{_MOUNT_OPTION})*"),
    "idmap": text(pattern=rf"passthrough|{_MAPPING}(?:;{_MAPPING})*"),
    "ro": flag(),
    "quota": flag(),
    "replicate": flag(),
    "shared": flag(),
}

MOUNT_POINT: Properties = {
    **ROOT_VOLUME,
    "backup": flag(),
    "mp": Property(format="pve-lxc-mp-string"),
    "keepattrs": flag(),
}

UNUSED_VOLUME: Properties = {"volume": Property(format="pve-volume-id", default_key=True)}

DEVICE: Properties = {
    "path": Property(optional=True, format="pve-lxc-dev-string", default_key=True),
    "mode": text(pattern="0[0-7]{3}"),
    "uid": number(0),
    "gid": number(0),
    "deny-write": flag(),
}

LOCKS = (
    "backup",
    "create",
    "destroyed",
    "disk",
    "fstrim",
    "migrate",
    "mounted",
    "rollback",
    "snapshot",
    "snapshot-delete",
)
ARCHITECTURES = ("amd64", "i386", "arm64", "armhf", "riscv32", "riscv64")
OS_TYPES = (
    "debian",
    "devuan",
    "ubuntu",
    "centos",
    "fedora",
    "opensuse",
    "archlinux",
    "alpine",
    "gentoo",
    "nixos",
    "unmanaged",
)


def _numbered(prefix: str, count: int, parts: Properties) -> dict[str, Property]:
    return {f"{prefix}{n}": Property(optional=True, parts=parts) for n in range(count)}


OPTIONS: Properties = {
    "lock": text(enum=LOCKS),
    "onboot": flag(),
    "startup": text(format="pve-startup-order"),
    "template": flag(),
    "arch": text(enum=ARCHITECTURES),
    "ostype": text(enum=OS_TYPES),
    "console": flag(),
    "tty": number(0, 6),
    "cores": number(1, 8192),
    "cpulimit": Property(type="number", optional=True, minimum=0, maximum=8192),
    "cpuunits": number(0, 500000),
    "memory": number(16),
    "swap": number(0),
    "hostname": text(format="dns-name", max_length=255),
    "description": text(max_length=8192),
    "searchdomain": text(format="dns-name-list"),
    "nameserver": text(format="lxc-ip-with-ll-iface-list"),
    "timezone": text(format="pve-ct-timezone"),
    "rootfs": Property(optional=True, parts=ROOT_VOLUME),
    "cmode": text(enum=("shell", "console", "tty")),
    "entrypoint": text(pattern=rf"{_NO_CONTROLS}+"),
    "protection": flag(),
    "unprivileged": flag(),
    "features": Property(optional=True, parts=FEATURES),
    "env": text(pattern=rf"(?:\w+={_NO_CONTROLS}*)(?:\0\w+={_NO_CONTROLS}*)*"),
    "hookscript": text(format="pve-volume-id"),
    "tags": text(format="pve-tag-list"),
    "debug": flag(),
    **_numbered("net", NETWORKS, NETWORK),
    **_numbered("mp", MOUNT_POINTS, MOUNT_POINT),
    **_numbered("unused", UNUSED_VOLUMES, UNUSED_VOLUME),
    **_numbered("dev", DEVICES, DEVICE),
}

VOLUME_KEYS = ("rootfs", *(f"mp{n}" for n in range(MOUNT_POINTS)))

NODE = Property(format="pve-node")
VMID = Property(type="integer", format="pve-vmid", minimum=100, maximum=999_999_999)
VMID_OPTIONAL = replace(VMID, optional=True)
SNAPSHOT_NAME = Property(format="pve-configid", max_length=40)
DIGEST = text(max_length=40)

OF_A_GUEST: Properties = {"node": NODE, "vmid": VMID}

CREATE: Properties = {
    **OPTIONS,
    **OF_A_GUEST,
    "ostemplate": Property(max_length=255),
    "password": Property(optional=True, min_length=5),
    "storage": text(format="pve-storage-id"),
    "force": flag(),
    "restore": flag(),
    "unique": Property(type="boolean", optional=True, requires="restore"),
    "pool": text(format="pve-poolid"),
    "ignore-unpack-errors": flag(),
    "ssh-public-keys": text(),
    "bwlimit": Property(type="number", optional=True, minimum=0),
    "start": flag(),
    "ha-managed": flag(),
}

UPDATE: Properties = {
    **OPTIONS,
    **OF_A_GUEST,
    "delete": text(format="pve-configid-list"),
    "revert": text(format="pve-configid-list"),
    "digest": DIGEST,
}

RESIZE: Properties = {
    **OF_A_GUEST,
    "disk": Property(enum=VOLUME_KEYS),
    "size": Property(pattern=r"\+?\d+(?:\.\d+)?[KMGT]?"),
    "digest": DIGEST,
}

CLONE: Properties = {
    **OF_A_GUEST,
    "newid": VMID,
    "hostname": text(format="dns-name"),
    "description": text(),
    "pool": text(format="pve-poolid"),
    "snapname": Property(optional=True, format="pve-configid", max_length=40),
    "storage": text(format="pve-storage-id"),
    "full": flag(),
    "target": text(format="pve-node"),
    "bwlimit": Property(type="number", optional=True, minimum=0),
}
