"""Nodes whose firewall was seen to isolate a guest, with real packets."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "proven_filters",
        sa.Column("node", sa.String(64), primary_key=True),
        sa.Column("program", sa.String(32), nullable=False),
        sa.Column("version", sa.String(64)),
        sa.Column("proven_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("proven_filters")
