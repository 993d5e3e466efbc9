"""The limits of the hub."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HubOptions:
    """Limits of the hub; times in seconds.

    max_sessions_per_node: terminals open at once on one node; it has ports for 100 consoles.
    max_commands: programs running at once in one guest, consoles included.
    max_streams: streams open at once into one guest, in addition to the commands.
    max_streaming_guests_per_node: guests of one node that may hold streams at once; the other
        terminals of the node are left to commands.
    absence_seconds: how long a stream waits for its client to come back.
    leave_seconds: how long its program may then take to end, once its stdin has.
    idle_seconds: how long an unused session stays open.
    let_go_seconds: how long we wait for the terminal of a console that was perhaps just closed.
    open_seconds: time limit for opening a session, recovery included.
    heartbeat_seconds: how often we check that a silent session in use is alive.
    silence_seconds: how long it may then stay silent before it counts as lost.
    default_timeout_seconds, max_timeout_seconds: time limit of a program.
    kill_after_seconds: from TERM to KILL, and from KILL until we give up on its output.
    drain_seconds: how long after a program's exit the jobs it left behind may send output.
    kept_bytes_per_guest, kept_bytes_in_all: output held in memory until it is sent and forgotten.
    max_output_bytes: the most output a caller may ask to keep.
    max_file_bytes: largest file, in either direction.
    kept_executions, kept_seconds: how many finished executions are kept, and for how long; of ended
        streams that wait for their clients, as many at most.
    spool_bytes: kept in the guest for each stream of a detached program.
    max_detached: detached programs kept per guest, finished ones included.
    """

    max_sessions_per_node: int = 80
    max_commands: int = 16
    max_streams: int = 8
    max_streaming_guests_per_node: int = 60
    absence_seconds: float = 60.0
    leave_seconds: float = 5.0
    idle_seconds: float = 300.0
    let_go_seconds: float = 3.0
    open_seconds: float = 20.0
    heartbeat_seconds: float = 3.0
    silence_seconds: float = 8.0
    acknowledge_seconds: float = 1.5
    default_timeout_seconds: float = 600.0
    max_timeout_seconds: float = 3600.0
    kill_after_seconds: float = 5.0
    drain_seconds: float = 0.5
    kept_bytes_per_guest: int = 32 * 1024 * 1024
    kept_bytes_in_all: int = 128 * 1024 * 1024
    max_output_bytes: int = 16 * 1024 * 1024
    max_file_bytes: int = 1024 * 1024 * 1024
    kept_executions: int = 64
    kept_seconds: float = 300.0
    spool_bytes: int = 1024 * 1024
    max_detached: int = 32
