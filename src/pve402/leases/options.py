"""The operator's settings for leases; all time limits are in seconds."""

import dataclasses

from pve402.domain import placement, quota, warm_kind

_LEAST_WRITES, _MOST_WRITES = 4, 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeaseOptions:
    """Settings for creating, keeping and ending leases."""

    instance: str  # names this installation in the tags of its guests
    default_template: str
    fixed_node: str | None = None  # all guests on this node; None: wherever there is room
    vmid_min: int = 10_000
    vmid_max: int = 99_999
    limits: placement.Limits = dataclasses.field(default_factory=placement.Limits)
    creation_limit_seconds: float = 240.0  # from the claim to the start of the settlement
    settle_margin_seconds: float = 15.0  # of the payment's window, kept for settling itself
    shutdown_limit_seconds: int = 30  # then the guest is stopped hard
    grace_seconds: float = 24 * 3600.0  # how long an expired guest is kept for a renewal
    grace_per_paid: float = 24.0  # and at most this multiple of the paid time
    paid_ahead_limit_seconds: float = 30 * 24 * 3600.0
    late_create_seconds: float = 90.0  # how long a guest may still appear after an unknown outcome
    deliver_seconds: float = 24 * 3600.0  # how long a paid container is tried before it is owed
    task_shows_seconds: float = 10.0  # after this, a creation's task is visible or already gone
    restarts_an_hour: int = 3  # of a guest found stopped inside its lease
    wakes_an_hour: int = 12  # of a paused lease
    unsettled_per_wallet: int = 8
    unsettled_per_address: int = 16
    unsettled_per_payer: int = 64  # at most, for a wallet that paid before
    unsettled_in_all: int = 256
    unsettled_of_new_wallets: int | None = None  # all of them together
    quotas: quota.Quotas = dataclasses.field(default_factory=quota.Quotas)
    confirmations: int = 10  # blocks after which we check a settlement again
    confirm_after_seconds: float = 25.0
    address_rest_seconds: float = 600.0  # how long a freed address stays unused
    address_history_seconds: float = 365 * 24 * 3600.0  # how long we keep who had an address
    snapshots_per_lease: int = 0  # none are taken
    private_images: int = 100  # of all wallets together
    private_images_per_wallet: int = 5
    forks_at_once: int = 0  # copies of a guest that one order may lease; none
    warm_kinds: tuple[warm_kind.WarmKind, ...] = ()  # the warm pool
    creates_per_node: int = 8  # guests of ours that one node makes at once, over all replicas
    # Calls of ours that change one node at once, over all replicas; None: by its cores.
    writes_per_node: int | None = None

    def writes_on(self, cores: int | None) -> int:
        """Return how many calls may change a node of so many cores (None: not known) at once.

        Three workers of Proxmox VE do all such calls of a node, so more than 16 would only wait.
        """
        if self.writes_per_node is not None:
            return self.writes_per_node
        return min(max(cores or 0, _LEAST_WRITES), _MOST_WRITES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Settings for taking and processing due rows."""

    # Rows in work in this process. A guest can take half a minute to shut down, and paying tenants
    # must not wait for that.
    orders_at_once: int = 64
    leases_at_once: int = 200
    scripts_at_once: int = 32
    oci_files_at_once: int = 2
    hold_seconds: float = 15.0  # a dead process's rows are taken over after this
    idle_seconds: float = 1.0  # the longest sleep between two reads of the table
    retry_least_seconds: float = 0.5
    retry_most_seconds: float = 60.0

    @property
    def retry_pauses_seconds(self) -> tuple[float, ...]:
        """Return the pause by number of attempts, starting at 0: doubled each time, capped."""
        doubled = (self.retry_least_seconds * 2.0**attempts for attempts in range(8))
        most = self.retry_most_seconds
        return (*(min(most, pause) for pause in doubled), most)
