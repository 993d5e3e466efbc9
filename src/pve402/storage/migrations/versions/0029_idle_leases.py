"""When leases that are paused once they are idle were last in use."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.add_column("leases", sa.Column("active_at", sa.BigInteger))


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("leases") as batch_op:
        batch_op.drop_column("active_at")
