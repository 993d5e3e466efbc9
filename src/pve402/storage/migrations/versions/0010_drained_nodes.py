"""Nodes that the operator is emptying."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "drained_nodes",
        sa.Column("node", sa.String(64), primary_key=True),
        sa.Column("drained_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("drained_nodes")
