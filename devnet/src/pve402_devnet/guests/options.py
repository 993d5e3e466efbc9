"""The devnet's options for its guests."""

import fnmatch
from dataclasses import dataclass
from enum import Enum

from pve402_devnet.pve.runtime import WITHOUT_SHELL


class GuestShell(Enum):
    """A guest's login shell, which also determines where its programs come from."""

    BASH = "bash"  # the host's /usr, read-only, and bash
    DASH = "dash"  # the host's /usr, read-only, and dash
    ASH = "ash"  # one busybox and links to it, nothing else of the host
    NONE = "none"  # no shell and no other programs, but one that ends


@dataclass(frozen=True, kw_only=True)
class GuestLimits:
    """Limits on a guest's use of the machine; memory and files are per process."""

    processes: int = 256
    open_files: int = 1024
    file_bytes: int = 1 << 30
    memory_floor_bytes: int = 256 << 20


@dataclass(frozen=True, kw_only=True)
class TemplateManners:
    """How guests made from one kind of template behave."""

    shell: GuestShell = GuestShell.ASH
    missing_commands: tuple[str, ...] = ()
    obeys_shutdown: bool = True


# Tried in this order; each pattern is matched against the template's whole volume id.
DEFAULT_TEMPLATES: tuple[tuple[str, TemplateManners], ...] = (
    (WITHOUT_SHELL, TemplateManners(shell=GuestShell.NONE)),
    ("*stubborn*", TemplateManners(obeys_shutdown=False)),
    ("*bash-nobase64*", TemplateManners(shell=GuestShell.BASH, missing_commands=("base64",))),
    ("*dash-nobase64*", TemplateManners(shell=GuestShell.DASH, missing_commands=("base64",))),
    ("*nobase64*", TemplateManners(missing_commands=("base64",))),
    ("*debian*", TemplateManners(shell=GuestShell.BASH)),
    ("*ubuntu*", TemplateManners(shell=GuestShell.BASH)),
    ("*bash*", TemplateManners(shell=GuestShell.BASH)),
    ("*dash*", TemplateManners(shell=GuestShell.DASH)),
    ("*", TemplateManners()),
)


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """Settings of a `NamespaceRuntime`.

    `disks` is the directory that holds one directory per guest. `first_outside_id` is the first of
    the 65,536 ids a guest is given when the runtime is root; 100000 is what Proxmox uses.
    `programs` is a folder with the root whose programs guests run, in place of this machine's.
    `unsafe_shells` allows guests without any isolation on machines that refuse namespaces.
    """

    disks: str
    first_outside_id: int = 100_000
    busybox: str = "busybox"
    limits: GuestLimits = GuestLimits()
    templates: tuple[tuple[str, TemplateManners], ...] = DEFAULT_TEMPLATES
    programs: str = ""
    unsafe_shells: bool = False
    start_limit_seconds: float = 20.0
    exec_limit_seconds: float = 300.0
    exec_output_bytes: int = 4 << 20

    def manners_of(self, template: str) -> TemplateManners:
        """Find the first entry whose pattern matches the template's volume id."""
        for pattern, manners in self.templates:
            if fnmatch.fnmatchcase(template.lower(), pattern):
                return manners
        return TemplateManners()
