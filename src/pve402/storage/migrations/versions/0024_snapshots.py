"""Snapshots of guests that tenants took."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "snapshots",
        sa.Column("pve_name", sa.String(40), primary_key=True),
        sa.Column("lease_id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("asked_at", sa.BigInteger),
        sa.Column("upid", sa.String(255)),
        sa.Column("resumes_to", sa.String(16)),
        sa.Column("kept", sa.Text),
        sa.Column("problem", sa.String(64)),
    )
    op.create_index("snapshots_name", "snapshots", ["lease_id", "name"], unique=True)
    op.create_index("ix_snapshots_state", "snapshots", ["state"])


def downgrade() -> None:
    """Take it back."""
    op.drop_table("snapshots")
