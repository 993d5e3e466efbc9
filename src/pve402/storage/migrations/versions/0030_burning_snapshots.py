"""What snapshots burn a minute, each and those of a lease together."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change; snapshots of before burn nothing."""
    op.add_column("snapshots", sa.Column("gb", sa.Integer))
    op.add_column("snapshots", sa.Column("burn", sa.String(78)))
    op.add_column("snapshots", sa.Column("burns_since", sa.BigInteger))
    op.add_column("leases", sa.Column("snapshot_gb", sa.Integer))
    op.add_column("leases", sa.Column("snapshot_burn", sa.String(78)))


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("leases") as batch_op:
        for name in ("snapshot_burn", "snapshot_gb"):
            batch_op.drop_column(name)
    with op.batch_alter_table("snapshots") as batch_op:
        for name in ("burns_since", "burn", "gb"):
            batch_op.drop_column(name)
