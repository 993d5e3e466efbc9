"""The tables of what is done about guests besides their leases; `tables` has them, too."""

import sqlalchemy as sa

from pve402.storage.column_types import Amount, JsonText, UtcMilliseconds

metadata = sa.MetaData()

snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("pve_name", sa.String(40), primary_key=True),
    sa.Column("lease_id", sa.String(32), nullable=False),
    sa.Column("name", sa.String(40), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
    sa.Column("asked_at", UtcMilliseconds),
    sa.Column("upid", sa.String(255)),
    sa.Column("resumes_to", sa.String(16)),
    sa.Column("kept", JsonText),
    sa.Column("problem", sa.String(64)),
    *(sa.Column("gb", sa.Integer), sa.Column("burn", Amount)),
    sa.Column("burns_since", UtcMilliseconds),
)
sa.Index("snapshots_name", snapshots.c.lease_id, snapshots.c.name, unique=True)

size_changes = sa.Table(
    "size_changes",
    metadata,
    sa.Column("lease_id", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
    *(
        sa.Column(f"{name}_{when}", sa.Integer, nullable=False)
        for when in ("before", "after")
        for name in ("cores", "memory_mb", "disk_gb")
    ),
    *(sa.Column(name, Amount, nullable=False) for name in ("burn_before", "burn_after")),
    sa.Column("rates_after", JsonText, nullable=False),
    sa.Column("since", UtcMilliseconds, nullable=False),
    sa.Column("may_restart", sa.Boolean, nullable=False),
    *(sa.Column(name, UtcMilliseconds) for name in ("began_at", "asked_at")),
    sa.Column("upid", sa.String(255)),
    sa.Column("disk_bytes", sa.BigInteger),
    sa.Column("kept", JsonText),
    sa.Column("resumes_to", sa.String(16)),
    sa.Column("problem", sa.String(64)),
)

oci_files = sa.Table(
    "oci_files",
    metadata,
    sa.Column("file_id", sa.String(32), primary_key=True),
    sa.Column("node", sa.String(64), nullable=False),
    sa.Column("volume", sa.String(255), nullable=False),
    sa.Column("reference", sa.String(255), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("seen", sa.String(64)),
    sa.Column("verdict", sa.String(32)),
    sa.Column("problem", sa.String(32)),
    sa.Column("failures", sa.Integer, nullable=False),
    *(sa.Column(name, UtcMilliseconds) for name in ("tried_at", "asked_at", "due_at")),
    sa.Column("upid", sa.String(255)),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
    sa.Column("fence", sa.String(32)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_error", sa.String(500)),
)

reinstalls = sa.Table(
    "reinstalls",
    metadata,
    sa.Column("lease_id", sa.String(32), primary_key=True),
    sa.Column("reinstall_id", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    *(sa.Column(name, UtcMilliseconds) for name in ("created_at", "ended_at", "asked_at")),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("template", sa.String(255), nullable=False),
    sa.Column("order_id", sa.String(32)),
    sa.Column("upid", sa.String(255)),
    sa.Column("hardware_address", sa.String(32)),
    sa.Column("resumes_to", sa.String(16)),
    sa.Column("problem", sa.String(64)),
    sa.Column("kept", JsonText),
    *(sa.Column(f"sealed_{what}", sa.LargeBinary) for what in ("secrets", "env", "script")),
    sa.Column("script_needs_network", sa.Boolean, nullable=False),
)

forks = sa.Table(
    "forks",
    metadata,
    sa.Column("order_id", sa.String(32), primary_key=True),
    sa.Column("lease_id", sa.String(32), nullable=False),
    sa.Column("pve_name", sa.String(40)),
    *(sa.Column(name, sa.Boolean, nullable=False) for name in ("is_temporary", "is_linked")),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
)
sa.Index("forks_lease", forks.c.lease_id, unique=True)
