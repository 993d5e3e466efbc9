"""Every change of a lease's row; nothing else writes the lease table.

A move declares which states it starts from and where each leads, a condition that must still hold
(its guard), and the columns it writes. Every guard, except those of `sell_warm` and `reserve`, also
requires that the state has not changed since the lease was read. If the guard fails, the move
writes nothing and raises FenceLostError: another worker, a renewal or the owner was faster. A move
from any other state raises ValueError.

    caller                    guard besides the state
    a creation                the lease's fence: none while an order works on it, else the worker's
    a renewal                 the same transaction writes the renewal's order under its fence
    the end of a lease        the lease's fence; a hold keeps it from being stopped or destroyed
    the reconciler            no hold, and the guest's node has not changed since the check
    the owner                 no hold, and the lease is not suspended
    the operator              no hold
    a reinstallation          the lease's fence; its own hold lets owner and operator end the lease
    the doctor                its own fence, or that of the worker that cleans up after it
"""

from pve402.leases.moves.activity import note_use, note_uses, note_uses_of_all
from pve402.leases.moves.creation import (
    UNWIND,
    activate,
    ask_again,
    begin_creating,
    begin_settling,
    begin_starting,
    change_vmid,
    follow_in_order,
    forget_create_sent,
    make_anew,
    note_addresses,
    note_create_sent,
    note_link,
    note_rules,
    reserve,
    restore,
    start_paid,
    unwind,
)
from pve402.leases.moves.images import (
    enter_images,
    finish_clone,
    forget_clone,
    note_base,
    note_clone,
    retire_image,
)
from pve402.leases.moves.life import (
    begin_deleting,
    begin_stopping,
    check_power,
    count_restart,
    end,
    end_early,
    end_vanished,
    follow,
    follow_when_due,
    keep_stopped,
    note_isolated,
    note_reboot,
    note_trouble,
    stop_again,
    wait,
    want_inbound,
    want_running,
    want_stopped,
)
from pve402.leases.moves.pause import (
    ask_pause,
    begin_pause,
    correct_pause,
    pause_idle,
    wake_paused,
)
from pve402.leases.moves.reinstalls import (
    begin_reinstall,
    cancel_reinstall,
    end_lone_hold,
    end_reinstall,
    give_guest_up,
    hold_emptied_time,
    look_at_begun,
)
from pve402.leases.moves.renewal import (
    extend,
    hold,
    hold_longer,
    release_hold,
    take_minutes_back,
    wake,
)
from pve402.leases.moves.size_changes import (
    begin_size_change,
    end_size_change,
    end_undoing,
    is_changeable,
    stop_to_change,
    undo_size_change,
)
from pve402.leases.moves.snapshots import (
    begin_rollback,
    begin_snapshot,
    end_burning,
    end_rollback,
    look_at_snapshots,
)
from pve402.leases.moves.suspension import end_by_operator, resume, suspend
from pve402.leases.moves.trials import begin_trial, end_trial, take_over_trial, wait_for_rules
from pve402.leases.moves.warm_pool import (
    abandon,
    discard_warm,
    enter_warm_pool,
    sell_warm,
)
from pve402.storage import queue, tables

__all__ = [
    "DUE",
    "UNWIND",
    "abandon",
    "activate",
    "ask_again",
    "ask_pause",
    "begin_creating",
    "begin_deleting",
    "begin_pause",
    "begin_reinstall",
    "begin_rollback",
    "begin_settling",
    "begin_size_change",
    "begin_snapshot",
    "begin_starting",
    "begin_stopping",
    "begin_trial",
    "cancel_reinstall",
    "change_vmid",
    "check_power",
    "correct_pause",
    "count_restart",
    "discard_warm",
    "end",
    "end_burning",
    "end_by_operator",
    "end_early",
    "end_lone_hold",
    "end_reinstall",
    "end_rollback",
    "end_size_change",
    "end_trial",
    "end_undoing",
    "end_vanished",
    "enter_images",
    "enter_warm_pool",
    "extend",
    "finish_clone",
    "follow",
    "follow_in_order",
    "follow_when_due",
    "forget_clone",
    "forget_create_sent",
    "give_guest_up",
    "hold",
    "hold_emptied_time",
    "hold_longer",
    "is_changeable",
    "keep_stopped",
    "look_at_begun",
    "look_at_snapshots",
    "make_anew",
    "note_addresses",
    "note_base",
    "note_clone",
    "note_create_sent",
    "note_isolated",
    "note_link",
    "note_reboot",
    "note_rules",
    "note_trouble",
    "note_use",
    "note_uses",
    "note_uses_of_all",
    "pause_idle",
    "release_hold",
    "reserve",
    "restore",
    "resume",
    "retire_image",
    "sell_warm",
    "start_paid",
    "stop_again",
    "stop_to_change",
    "suspend",
    "take_minutes_back",
    "take_over_trial",
    "undo_size_change",
    "unwind",
    "wait",
    "wait_for_rules",
    "wake",
    "wake_paused",
    "want_inbound",
    "want_running",
    "want_stopped",
]

DUE = queue.DueRows(tables.leases)
"""The queue of due leases: workers take, keep, postpone and release them by their fence."""
