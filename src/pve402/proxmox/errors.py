"""Everything that can go wrong between us and Proxmox VE, as one tree.

    ProxmoxError
    ├── Unreachable               certainly not executed
    │   └── CertificateRejected
    ├── OutcomeUnknown            perhaps executed: look before you repeat
    │   └── ConnectionDropped
    ├── AuthenticationFailed      401
    ├── PermissionDenied          403
    ├── InvalidParameters         400, or found by our own check before sending
    ├── CallNotSupported          501
    ├── GuestError
    │   ├── GuestMissing, GuestExists, GuestLocked, GuestRunning, GuestNotRunning, GuestProtected
    │   └── FiguresMissing
    ├── NodeUnknown, NoQuorum, PoolMissing
    ├── StorageMissing, StorageFull, VolumeMissing, BridgeMissing, FileExists
    ├── ImageMissing, ImageRefused, RegistryUnreachable
    ├── ConfigChanged             the digest sent is not the current one
    ├── SnapshotMissing, SnapshotsNotPossible
    ├── UserMissing, UserExists, RoleExists
    ├── TaskMissing, TaskFailed, TaskTimeout
    └── ProxmoxFault              any other refusal of Proxmox
        └── UnexpectedAnswer      not an answer Proxmox gives

Proxmox answers 500 to nearly every refusal, so most classes are chosen by the text of
the message (`pve402.proxmox.messages`). No text here ever holds a secret.
"""

import re
from collections.abc import Mapping

_PERMISSION = re.compile(r"Permission check failed \((?P<path>/[^,\s]*), (?P<privileges>[\w.|]+)\)")


class ProxmoxError(Exception):
    """A failure; `message` is what Proxmox said, or what we found: for operators, not tenants."""

    message: str = "Something went wrong between us and Proxmox VE."

    def __init__(
        self, message: str = "", *, call: str = "", status: int | None = None, subject: str = ""
    ) -> None:
        self.message = message or self.message
        super().__init__(_sentence(call, self.message, status))
        #: Method and path of the call, without its parameters.
        self.call = call
        #: HTTP status, None if no answer came.
        self.status = status
        #: Name of the thing the error is about (vmid, lock, node, storage, ...), if known.
        self.subject = subject


class Unreachable(ProxmoxError):
    message = "Proxmox could not be reached; the call was certainly not executed."


class CertificateRejected(Unreachable):
    message = "The TLS certificate of the host is not the one we trust."


class OutcomeUnknown(ProxmoxError):
    message = "No complete answer came; the call may have been executed, or may still be."


class ConnectionDropped(OutcomeUnknown):
    message = "The connection ended after sending and before a complete answer came."


class AuthenticationFailed(ProxmoxError):
    message = "Proxmox rejects our token, ticket or password (401)."


class PermissionDenied(ProxmoxError):
    message = "Proxmox says that we lack a privilege (403)."

    @property
    def path(self) -> str:
        """The object the privilege is needed on, such as `/vms/101`; empty if unknown."""
        match = _PERMISSION.search(self.message)
        return match["path"] if match else ""

    @property
    def privileges(self) -> frozenset[str]:
        """The privileges any one of which would be enough; empty if unknown."""
        match = _PERMISSION.search(self.message)
        return frozenset(match["privileges"].split("|")) if match else frozenset()


class InvalidParameters(ProxmoxError):
    message = "A parameter was refused, by Proxmox (400) or by our own check before sending."

    def __init__(
        self,
        message: str = "",
        *,
        call: str = "",
        status: int | None = None,
        errors: Mapping[str, str],
    ) -> None:
        details = "; ".join(f"{name}: {text}" for name, text in errors.items())
        super().__init__(details or message, call=call, status=status)
        #: What is wrong, by parameter name.
        self.errors = dict(errors)


class CallNotSupported(ProxmoxError):
    message = "This Proxmox has no such call (501)."


class GuestError(ProxmoxError):
    message = "A guest is not in the state the call needs."

    @property
    def vmid(self) -> int | None:
        """The guest's id, if the message names it."""
        return int(self.subject) if self.subject.isdecimal() else None


class GuestMissing(GuestError):
    message = "There is no such guest."


class GuestExists(GuestError):
    message = "The vmid is taken."


class GuestRunning(GuestError):
    message = "The guest is already running, or must be stopped first."


class GuestNotRunning(GuestError):
    message = "The guest is not running; Proxmox also says so if the guest does not exist."


class GuestProtected(GuestError):
    message = "The guest is protected against removal."


class GuestLocked(GuestError):
    message = "The guest, or something the call needs, is locked by another operation."

    @property
    def lock(self) -> str:
        """Name of the lock: `create`, `backup`, ..., or the lock file the call waited for."""
        return self.subject


class FiguresMissing(GuestError):
    message = "Proxmox has no past figures of this guest yet."


class NodeUnknown(ProxmoxError):
    message = "There is no such node in the cluster."


class NoQuorum(ProxmoxError):
    message = "The cluster has no quorum, so nothing can be changed."


class PoolMissing(ProxmoxError):
    message = "There is no such resource pool."


class StorageMissing(ProxmoxError):
    message = "The storage does not exist, or is not usable on this node."


class StorageFull(ProxmoxError):
    message = "The storage has no room left."


class VolumeMissing(ProxmoxError):
    message = "A template or disk is not on its storage."


class BridgeMissing(ProxmoxError):
    message = "The node has no such bridge."


class FileExists(ProxmoxError):
    message = "The storage already has a file of that name."


class ImageMissing(ProxmoxError):
    message = "The registry has no such image, or no such tag of it."


class ImageRefused(ProxmoxError):
    message = "The registry gives the image only to those it knows, or there is none."


class RegistryUnreachable(ProxmoxError):
    message = "The node got no image from the registry: no way there, no trusted TLS, or too busy."


class ConfigChanged(ProxmoxError):
    message = "The configuration changed since its digest was read."


class SnapshotMissing(ProxmoxError):
    message = "The guest has no such snapshot."


class SnapshotsNotPossible(ProxmoxError):
    message = "The storage of the guest's disk takes no snapshots."


class UserMissing(ProxmoxError):
    message = "There is no such Proxmox user."


class UserExists(ProxmoxError):
    message = "The Proxmox user already exists."


class RoleExists(ProxmoxError):
    message = "The role already exists."


class TaskMissing(ProxmoxError):
    message = "Proxmox does not know this task."


class TaskFailed(ProxmoxError):
    message = "A task ended with an error."

    def __init__(
        self, *, upid: str, exitstatus: str, cause: ProxmoxError, log_tail: tuple[str, ...] = ()
    ) -> None:
        super().__init__(f"task failed: {exitstatus}", call=upid, subject=cause.subject)
        self.upid = upid
        #: The task's exit status, as Proxmox wrote it.
        self.exitstatus = exitstatus
        #: The same failure as an error class, as if Proxmox had refused the call itself.
        self.cause = cause
        #: The last lines of the task's log; for operators only.
        self.log_tail = log_tail


class TaskTimeout(ProxmoxError):
    message = "A task did not end within the time given; it may still be running."

    def __init__(self, *, upid: str, limit_seconds: float) -> None:
        super().__init__(f"task still running after {limit_seconds:g} s", call=upid)
        self.upid = upid
        self.limit_seconds = limit_seconds


class ProxmoxFault(ProxmoxError):
    message = "Proxmox refused for a reason that has no class of its own."


class UnexpectedAnswer(ProxmoxFault):
    message = "The answer does not look like Proxmox's: not JSON, too large, or of another shape."


def _sentence(call: str, message: str, status: int | None) -> str:
    place = f"{call}: " if call else ""
    return f"{place}{message} (HTTP {status})" if status else f"{place}{message}"
