"""The table that classifies Proxmox's refusals by their text.

Proxmox VE does not use 404 or 409: it answers nearly every refusal with status 500 and a
sentence, and a failed task ends with the same sentences. Each pattern matches a text recorded
on Proxmox VE 9.2 unless its comment names another source.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pve402.proxmox import errors

_MESSAGE_LIMIT = 1000


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A message pattern and its error class; the group `subject` names the thing concerned."""

    pattern: re.Pattern[str]
    error: type[errors.ProxmoxError]


def _rule(pattern: str, error: type[errors.ProxmoxError]) -> Rule:
    return Rule(pattern=re.compile(pattern, re.IGNORECASE), error=error)


#: First match wins. Task ends carry prefixes ("unable to create CT 110 - ..."), so a pattern may
#: match anywhere, and is anchored only if its words are common.
RULES = (
    _rule(r"\b(?:CT|VM) (?P<subject>\d+) already exists", errors.GuestExists),
    _rule(r"\b(?:CT|VM) (?P<subject>\d+) already running", errors.GuestRunning),
    _rule(
        r"unable to destroy (?:CT|VM) (?P<subject>\d+) - container is running", errors.GuestRunning
    ),
    # PVE/API2/Qemu.pm and older PVE/API2/LXC.pm
    _rule(r"\b(?:CT|VM) (?P<subject>\d+) is running - destroy failed", errors.GuestRunning),
    _rule(r"\b(?:CT|VM) (?P<subject>\d+) not running", errors.GuestNotRunning),
    _rule(r"\b(?:CT|VM) is locked(?: \((?P<subject>[\w-]+)\))?", errors.GuestLocked),
    # PVE/Tools.pm, lock_file_full; "aquire" is its own spelling
    _rule(
        r"can't (?:lock file|ac?quire lock) '(?:[^']*/)?(?P<subject>[^'/]+?)(?:\.lock|\.lck)?'",
        errors.GuestLocked,
    ),
    # PVE/Cluster.pm, cfs_lock: the cluster-wide locks of storages and users
    _rule(
        r"cfs-lock(?:ed)? '(?P<subject>[^']+)'.*got lock (?:request )?timeout", errors.GuestLocked
    ),
    _rule(r"(?:\b(?:CT|VM) (?P<subject>\d+) )?- protection mode enabled", errors.GuestProtected),
    _rule(
        r"Configuration file 'nodes/[^']+/(?P<subject>\d+)\.conf' does not exist",
        errors.GuestMissing,
    ),
    _rule(
        r"RRD error: .*opening '[^']+/(?P<subject>\d+)': No such file or directory",
        errors.FiguresMissing,
    ),
    _rule(r"hostname lookup '(?P<subject>[^']+)' failed", errors.NodeUnknown),
    # PVE/Cluster.pm, check_node_exists
    _rule(r"no such cluster node '(?P<subject>[^']+)'", errors.NodeUnknown),
    # PVE/Cluster.pm, check_cfs_quorum
    _rule(r"no quorum", errors.NoQuorum),
    # pmxcfs, which holds /etc/pve: without quorum it is read-only, while it restarts it is away
    _rule(
        r"'?/etc/pve/[^']*'? ?(?:-|:|failed).*(?:permission denied|device or resource busy"
        r"|transport endpoint is not connected|input/output error)",
        errors.NoQuorum,
    ),
    _rule(r"pool '(?P<subject>[^']+)' does not exist", errors.PoolMissing),
    _rule(r"storage '(?P<subject>[^']+)' does not exist", errors.StorageMissing),
    _rule(r"No such storage", errors.StorageMissing),
    # PVE/Storage.pm, storage_check_enabled
    _rule(
        r"storage '(?P<subject>[^']+)' is (?:disabled|not (?:available|online))",
        errors.StorageMissing,
    ),
    # PVE/Storage.pm, activate_storage
    _rule(r"connection check for storage '(?P<subject>[^']+)' failed", errors.StorageMissing),
    # PVE/Storage/DirPlugin.pm and ZFSPoolPlugin.pm
    _rule(
        r"(?:unable to|could not|can't) activate storage '(?P<subject>[^']+)'",
        errors.StorageMissing,
    ),
    # PVE/API2/LXC.pm and PVE/LXC.pm
    _rule(
        r"storage '(?P<subject>[^']+)' (?:does not support (?:container|content)"
        r"|is not configured for content-type)",
        errors.StorageMissing,
    ),
    _rule(
        r"content type '[^']+' is not available on storage '(?P<subject>[^']+)'",
        errors.StorageMissing,
    ),
    # PVE/API2/Storage/Status.pm
    _rule(r"not a file based storage", errors.StorageMissing),
    _rule(r"refusing to override existing file '(?P<subject>[^']+)'", errors.FileExists),
    # PVE/Storage/LVMPlugin.pm, NFSPlugin.pm, RBDPlugin.pm, ZFSPoolPlugin.pm
    _rule(r"no such volume group '(?P<subject>[^']+)'", errors.StorageMissing),
    _rule(r"\bmount error: |\brbd error: .*(?:connect|opening pool)", errors.StorageMissing),
    _rule(r"cannot (?:open|import) '(?P<subject>[^']+)': no such pool", errors.StorageMissing),
    _rule(r"volume '(?P<subject>[^']+)' does not exist", errors.VolumeMissing),
    _rule(r"no such logical volume (?P<subject>\S+)", errors.VolumeMissing),
    # tar, for an archive that went away while the task ran
    _rule(r"\btar: (?P<subject>\S+): cannot open: no such file", errors.VolumeMissing),
    # texts from the LVM, ZFS and kernel layers below PVE/Storage
    _rule(
        r"no space left on device|out of (?:data )?space|insufficient (?:suitable )?"
        r"(?:allocatable |free )?(?:space|extents)|quota exceeded"
        r"|free space in thin pool \S+ reached threshold",
        errors.StorageFull,
    ),
    _rule(r"bridge '(?P<subject>[^']+)' does not exist", errors.BridgeMissing),
    _rule(r"snapshot '(?P<subject>[^']+)' does not exist", errors.SnapshotMissing),
    _rule(r"snapshot feature is not available", errors.SnapshotsNotPossible),
    _rule(r"detected modified configuration", errors.ConfigChanged),
    _rule(r"no such task", errors.TaskMissing),
    # PVE/AccessControl.pm and PVE/API2/User.pm
    _rule(r"no such user \('(?P<subject>[^']+)'\)", errors.UserMissing),
    _rule(r"user '(?P<subject>[^']+)' does not exist", errors.UserMissing),
    _rule(r"user '(?P<subject>[^']+)' already exists", errors.UserExists),
    # PVE/API2/Role.pm
    _rule(r"role '(?P<subject>[^']+)' already exists", errors.RoleExists),
)


_PULL = re.compile(r"command 'skopeo copy docker://(?P<reference>\S+) ")
_FATAL = re.compile(r'level=fatal msg="(?P<text>.*)"\s*$')
#: What skopeo says, or failing that its exit code. First match wins; recorded, except for
#: "denied", "name unknown" and "too many requests", which are error codes of the OCI distribution.
PULL_RULES = (
    _rule(r"manifest unknown|name unknown|failed: exit code 2", errors.ImageMissing),
    _rule(r"unauthorized|\bdenied\b", errors.ImageRefused),
    _rule(r"no space left on device", errors.StorageFull),
    _rule(r"pinging container registry|toomanyrequests", errors.RegistryUnreachable),
)


def classify(message: str, *, call: str = "", status: int | None = None) -> errors.ProxmoxError:
    """The error for `message`; `ProxmoxFault` if no rule matches."""
    text = tidy(message)
    return known(text, call=call, status=status) or errors.ProxmoxFault(
        text, call=call, status=status
    )


def classify_end(exitstatus: str, log: Sequence[str], *, call: str) -> errors.ProxmoxError:
    """The error for a failed task; of a pull of an image only the log says why."""
    pull = _PULL.search(exitstatus)
    if pull is None:
        return classify(exitstatus, call=call)
    fatal = [match["text"] for line in log if (match := _FATAL.search(line))]
    reason = tidy(fatal[-1].replace('\\"', '"') if fatal else exitstatus)
    for rule in PULL_RULES:
        if rule.pattern.search(reason):
            return rule.error(reason, call=call, subject=pull["reference"])
    return errors.ProxmoxFault(reason, call=call, subject=pull["reference"])


def known(message: str, *, call: str, status: int | None) -> errors.ProxmoxError | None:
    """The error for `message`, or None if no rule matches."""
    for rule in RULES:
        if match := rule.pattern.search(message):
            subject = match.groupdict().get("subject") or ""
            return rule.error(message, call=call, status=status, subject=subject)
    return None


def tidy(text: str) -> str:
    """`text` on one line, without control characters and of bounded length."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * _MESSAGE_LIMIT])
    return " ".join(printable.split())[:_MESSAGE_LIMIT]
