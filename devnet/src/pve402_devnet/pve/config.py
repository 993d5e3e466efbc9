"""A guest's configuration file: options, changes waiting for a restart, snapshots, and its digest.

Values pass through the text of the file, as they do on a node: an empty value reads back as one
space, a description gains a line end.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from pve402_devnet.pve import errors, formats, guest_schema, schema

Value = str | int
Section = dict[str, Value]

_WRITTEN_APART = ("description", "env")


@dataclass(kw_only=True)
class GuestConfig:
    """One `nodes/NODE/lxc/VMID.conf`; `raw` are LXC's own settings, which the API only shows."""

    options: Section = field(default_factory=dict)
    pending: Section = field(default_factory=dict)
    pending_delete: list[str] = field(default_factory=list)
    raw: list[list[str]] = field(default_factory=list)
    snapshots: dict[str, Section] = field(default_factory=dict)

    @property
    def lock(self) -> str | None:
        """The lock that is set in the file, which only its holder takes away."""
        lock = self.options.get("lock")
        return str(lock) if lock else None

    @property
    def digest(self) -> str:
        """SHA-1 of the file's text."""
        return hashlib.sha1(self.render().encode(), usedforsecurity=False).hexdigest()

    @property
    def has_nesting(self) -> bool:
        """Whether containers, and a newer systemd, may run inside."""
        features = schema.parse_property_string(self.text("features"), guest_schema.FEATURES)
        return features.get("nesting") == "1"

    def text(self, name: str, default: str = "") -> str:
        """Read an option as text."""
        return str(self.options.get(name, default))

    def integer(self, name: str, default: int) -> int:
        """Read an option as a whole number; an option set to 0 counts as set."""
        return int(self.options.get(name, default))

    def put(self, name: str, value: Value) -> None:
        """Set an option to what it will read back as."""
        stored = as_stored(name, value)
        if stored is None:
            self.options.pop(name, None)
        else:
            self.options[name] = stored

    def merged(self) -> Section:
        """The options as they will be once pending changes are applied."""
        merged = {**self.options, **self.pending}
        return {name: value for name, value in merged.items() if name not in self.pending_delete}

    def render(self) -> str:
        """Write the file's text."""
        text = _render_section(self.options)
        text += "".join(f"{name}: {value}\n" for name, value in self.raw)
        if self.pending or self.pending_delete:
            waiting: Section = dict(self.pending)
            if self.pending_delete:
                waiting["delete"] = ",".join(self.pending_delete)
            text += "\n[pve:pending]\n" + _render_section(waiting)
        for name in sorted(self.snapshots):
            text += f"\n[{name}]\n" + _render_section(self.snapshots[name])
        return text

    def volumes(self) -> dict[str, dict[str, str]]:
        """The root volume and mount points that are volumes of a storage, by option."""
        found = {}
        for name in guest_schema.VOLUME_KEYS:
            if name in self.options:
                parsed = parse_volume(name, str(self.options[name]))
                if not parsed["volume"].startswith("/"):
                    found[name] = parsed
        return found

    def networks(self) -> dict[str, dict[str, str]]:
        """The network devices, by option."""
        return {
            name: schema.parse_property_string(str(value), guest_schema.NETWORK)
            for name, value in sorted(self.options.items())
            if name.startswith("net") and name[3:].isdecimal()
        }

    def require_unlocked(self) -> None:
        """Raise `errors.Failure` while a lock is set."""
        if self.lock:
            raise errors.Failure(f"CT is locked ({self.lock})")

    def require_unprotected(self, prefix: str) -> None:
        """Raise `errors.Failure` while the guest is protected."""
        if self.options.get("protection"):
            raise errors.Failure(f"{prefix} - protection mode enabled")


def as_stored(name: str, value: Value) -> Value | None:
    """What a value reads back as after it went through the file; None where it vanishes."""
    if not isinstance(value, str):
        return value
    if name == "description":
        lines = value.split("\n")
        while lines and not lines[-1]:
            lines.pop()
        return "".join(line + "\n" for line in lines) or None
    if name == "env":
        return value or None
    if "\n" in value:
        raise errors.Failure(f"detected invalid newline inside property '{name}'")
    return value.strip() or " "


def parse_volume(name: str, text: str) -> dict[str, str]:
    """Read `rootfs`, `mpN` or `unusedN`."""
    parts = guest_schema.ROOT_VOLUME
    if name.startswith("mp"):
        parts = guest_schema.MOUNT_POINT
    elif name.startswith("unused"):
        parts = guest_schema.UNUSED_VOLUME
    return schema.parse_property_string(text, parts)


def print_volume(name: str, volume: Mapping[str, str]) -> str:
    """Write `rootfs` or `mpN`; a size is written with the largest unit that fits."""
    shown = dict(volume)
    if "size" in shown:
        shown["size"] = formats.format_size(formats.parse_size(shown["size"]) or 0)
    parts = guest_schema.ROOT_VOLUME if name == "rootfs" else guest_schema.MOUNT_POINT
    return schema.print_property_string(shown, parts)


def _render_section(section: Section) -> str:
    description = str(section.get("description", ""))
    text = "".join(f"#{_encode(line)}\n" for line in description.split("\n")[:-1])
    for name in sorted(section):
        if name not in _WRITTEN_APART:
            text += f"{name}: {section[name]}\n"
    for variable in str(section.get("env", "")).split("\0"):
        if variable:
            text += f"lxc.environment.runtime: {variable}\n"
    return text


def _encode(line: str) -> str:
    return "".join(c if " " <= c <= "~" and c not in "%:" else f"%{ord(c):02X}" for c in line)
