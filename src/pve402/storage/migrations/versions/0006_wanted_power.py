"""Whether a lease's guest should run, and who decided that; adds holds to the promise index."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STANDING = sa.text("ended_at IS NULL")
_BEFORE = ["node", "status", "cores", "memory_mb", "disk_gb", "ended_at"]
_AFTER = ["node", "status", "hold_order_id", "cores", "memory_mb", "disk_gb", "ended_at"]


def upgrade() -> None:
    """Make the change."""
    for name, value in (("wanted", "running"), ("wanted_by", "service")):
        column = sa.Column(name, sa.String(16), nullable=False, server_default=value)
        op.add_column("leases", column)
    _index(_AFTER)


def downgrade() -> None:
    """Take it back."""
    _index(_BEFORE)
    op.drop_column("leases", "wanted_by")
    op.drop_column("leases", "wanted")


def _index(columns: list[str]) -> None:
    op.drop_index("leases_standing", "leases")
    op.create_index(
        "leases_standing",
        "leases",
        columns,
        postgresql_where=_STANDING,
        sqlite_where=_STANDING,
    )
