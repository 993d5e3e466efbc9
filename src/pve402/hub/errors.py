"""Everything that can go wrong between a caller and a program inside a guest, as one tree.

    HubError
    ├── RequestRefused            422  the request cannot be run as written
    │   └── FileTooLarge          413
    ├── Unavailable               409  the guest or its terminal does not allow it now
    │   ├── GuestNotRunning
    │   ├── NoShell
    │   ├── TerminalStuck
    │   ├── ConsoleBusy
    │   ├── GuestClosed
    │   └── OutputGone
    ├── TooManyCommands           429  a limit protects the others
    │   ├── TooManySessions
    │   ├── TooManyStreams
    │   └── TooManyWatches
    ├── NodeConsolesFull          503  commands keep the terminals that are left
    ├── ExecNotFound              404  no such execution, or it is forgotten
    │   └── StreamNotFound
    ├── FileMissing               404
    ├── FileRefused               409  the guest's file system says no
    │   ├── NotAFolder
    │   ├── ArchiveRefused
    │   ├── FileExists
    │   └── FolderNotEmpty
    ├── SessionFailed             502  the way into the guest broke; carries the exec_id
    │   ├── SessionLost
    │   ├── OutputDamaged
    │   └── TerminalUnreachable
    └── Moved                     another replica owns the guest's terminal

The numbers are what the HTTP layer answers. No text here holds anything the guest wrote.
"""

from pve402.domain import errors


class HubError(errors.Pve402Error):
    detail = "The hub cannot do this."
    code = "hub_error"

    def __init__(self, detail: str | None = None, *, exec_id: str = "") -> None:
        super().__init__(detail)
        #: The execution this is about, if there is one.
        self.exec_id = exec_id


class RequestRefused(HubError):
    detail = "The request cannot be run as written."
    code = "invalid_request"


class FileTooLarge(RequestRefused):
    detail = "The file is larger than the limit."
    code = "file_too_large"


class Unavailable(HubError):
    detail = "The guest does not allow this now."
    code = "guest_unavailable"


class GuestNotRunning(Unavailable):
    detail = "The guest is not running."
    code = "guest_not_running"


class NoShell(Unavailable):
    detail = "The guest has no usable POSIX shell on its terminal."
    code = "no_shell"


class TerminalStuck(Unavailable):
    detail = "A program blocks the guest's terminal; restart the guest."
    code = "terminal_stuck"


class ConsoleBusy(Unavailable):
    detail = "The guest's terminal is held by a console; close it first."
    code = "console_busy"


class GuestClosed(Unavailable):
    detail = "The lease or its container ended while the command ran."
    code = "guest_closed"


class OutputGone(Unavailable):
    detail = "This part of the output has been read and is no longer kept."
    code = "output_gone"


class TooManyCommands(HubError):
    detail = "Too many commands run in this guest; wait for one to end."
    code = "too_many_commands"
    retry_after_seconds = 2


class TooManySessions(TooManyCommands):
    detail = "Too many terminals are open on this machine; try again in a moment."
    code = "too_many_sessions"


class TooManyStreams(TooManyCommands):
    detail = "Too many streams are open into this guest; close one first."
    code = "too_many_streams"


class TooManyWatches(TooManyCommands):
    detail = "Too many folders of this guest are being watched; end one first."
    code = "too_many_watches"


class NodeConsolesFull(HubError):
    detail = "Too many containers of this machine hold a stream open; try again in a moment."
    code = "node_consoles_full"
    retry_after_seconds = 10


class ExecNotFound(HubError):
    detail = "There is no such execution."
    code = "exec_not_found"


class StreamNotFound(ExecNotFound):
    detail = "There is no such stream, or it has ended."
    code = "stream_not_found"


class FileMissing(HubError):
    detail = "There is no such file in the guest."
    code = "file_missing"


class FileRefused(HubError):
    detail = "The guest's file system refused this."
    code = "file_refused"


class NotAFolder(FileRefused):
    detail = "This is not a folder."
    code = "not_a_folder"


class ArchiveRefused(FileRefused):
    detail = "The guest's tar could not unpack this archive; a part may be unpacked."
    code = "archive_refused"


class FileExists(FileRefused):
    detail = "Something is there already; a folder is never replaced."
    code = "file_exists"


class FolderNotEmpty(FileRefused):
    detail = "The folder is not empty; only a recursive removal removes it."
    code = "folder_not_empty"


class SessionFailed(HubError):
    detail = "The connection into the guest failed."
    code = "session_failed"


class SessionLost(SessionFailed):
    detail = "The connection into the guest was lost while the command ran; its outcome is unknown."
    code = "session_lost"


class OutputDamaged(SessionFailed):
    detail = (
        "Output was lost on the way, perhaps because somebody else opened the guest's terminal."
    )
    code = "output_damaged"


class TerminalUnreachable(SessionFailed):
    detail = "The guest's terminal could not be opened."
    code = "terminal_unreachable"


class Moved(HubError):
    detail = "Another replica owns the terminal of this guest."
    code = "moved"
    retry_after_seconds = 2

    def __init__(self, detail: str | None = None, *, owner_address: str = "") -> None:
        super().__init__(detail)
        #: Where the owner is reached by its peers.
        self.owner_address = owner_address
