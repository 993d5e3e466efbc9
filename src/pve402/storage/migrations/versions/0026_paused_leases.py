"""Leases that are paused, and how often they were woken."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_STANDING = sa.text("ended_at IS NULL")
_FIRST = ["node", "status", "hold_order_id", "storage", "cores", "memory_mb", "disk_gb"]
_TIMES = ("pause_asked_at", "paused_at", "wakes_since")


def upgrade() -> None:
    """Make the change."""
    op.add_column("leases", sa.Column("paused", sa.Text))
    op.add_column("leases", sa.Column("wakes", sa.Integer, nullable=False, server_default="0"))
    for name in _TIMES:
        op.add_column("leases", sa.Column(name, sa.BigInteger))
    _index([*_FIRST, "paused_at", "ended_at"])


def downgrade() -> None:
    """Take it back."""
    _index([*_FIRST, "ended_at"])
    for name in (*_TIMES, "wakes", "paused"):
        op.drop_column("leases", name)


def _index(names: list[str]) -> None:
    op.drop_index("leases_standing", "leases")
    op.create_index(
        "leases_standing", "leases", names, postgresql_where=_STANDING, sqlite_where=_STANDING
    )
