"""Forks in progress, which lease a lease was copied from, and one payment for several leases."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.add_column("leases", sa.Column("forked_from", sa.String(32)))
    op.add_column("orders", sa.Column("parts", sa.Integer, nullable=False, server_default="1"))
    op.add_column("orders", sa.Column("part_of", sa.String(32)))
    op.create_index("ix_orders_part_of", "orders", ["part_of"])
    op.create_table(
        "forks",
        sa.Column("order_id", sa.String(32), primary_key=True),
        sa.Column("lease_id", sa.String(32), nullable=False),
        sa.Column("pve_name", sa.String(40)),
        sa.Column("is_temporary", sa.Boolean, nullable=False),
        sa.Column("is_linked", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("forks_lease", "forks", ["lease_id"], unique=True)


def downgrade() -> None:
    """Take it back."""
    op.drop_table("forks")
    op.drop_index("ix_orders_part_of", "orders")
    with op.batch_alter_table("orders") as batch_op:
        batch_op.drop_column("part_of")
        batch_op.drop_column("parts")
    with op.batch_alter_table("leases") as batch_op:
        batch_op.drop_column("forked_from")
