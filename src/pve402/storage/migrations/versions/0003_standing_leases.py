"""Indexes for the queries of every creation, unlogged slots, guests described once."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STANDING = sa.text("ended_at IS NULL")
_RESTING = sa.text("free_at IS NOT NULL")


def upgrade() -> None:
    """Make the change."""
    op.create_index(
        "leases_standing",
        "leases",
        ["node", "status", "cores", "memory_mb", "disk_gb", "ended_at"],
        postgresql_where=_STANDING,
        sqlite_where=_STANDING,
    )
    op.create_index("vmids_newest", "vmids", ["reserved_at", "vmid"])
    op.create_index(
        "vmids_resting", "vmids", ["free_at"], postgresql_where=_RESTING, sqlite_where=_RESTING
    )
    _set_slots("UNLOGGED")
    with op.batch_alter_table("orders") as orders:
        orders.add_column(sa.Column("described_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("orders") as orders:
        orders.drop_column("described_at")
    _set_slots("LOGGED")
    op.drop_index("vmids_resting", "vmids", postgresql_where=_RESTING, sqlite_where=_RESTING)
    op.drop_index("vmids_newest", "vmids")
    op.drop_index("leases_standing", "leases", postgresql_where=_STANDING, sqlite_where=_STANDING)


def _set_slots(kept: str) -> None:
    """Slots are held for seconds only, so the table may be empty after a server crash."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE node_slots SET {kept}")
