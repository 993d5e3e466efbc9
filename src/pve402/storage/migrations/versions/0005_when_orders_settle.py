"""Since when an order settles, and whether it settles before its guest is started."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.add_column("orders", sa.Column("settling_at", sa.BigInteger))
    # Older versions did not record it. The earliest it can be bounds how long a guest runs unpaid.
    op.execute("UPDATE orders SET settling_at = created_at WHERE status = 'settling'")
    op.add_column(
        "orders",
        sa.Column("settles_first", sa.Boolean, nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_column("orders", "settles_first")
    op.drop_column("orders", "settling_at")
