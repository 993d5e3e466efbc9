"""What happened to leases and orders and left no time of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "happenings",
        sa.Column("happening_id", sa.Integer, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("detail", sa.String(500), nullable=False),
        sa.Column("lease_id", sa.String(32)),
        sa.Column("order_id", sa.String(32)),
        sa.Column("vmid", sa.Integer),
    )
    op.create_index("happenings_lease", "happenings", ["lease_id", "kind"])
    op.create_index("happenings_order", "happenings", ["order_id"])
    op.create_index("happenings_at", "happenings", ["at"])


def downgrade() -> None:
    """Take it back."""
    op.drop_table("happenings")
