"""Reinstallations of leases: the latest of each lease."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "reinstalls",
        sa.Column("lease_id", sa.String(32), primary_key=True),
        sa.Column("reinstall_id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("asked_at", sa.BigInteger),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("template", sa.String(255), nullable=False),
        sa.Column("order_id", sa.String(32)),
        sa.Column("upid", sa.String(255)),
        sa.Column("hardware_address", sa.String(32)),
        sa.Column("resumes_to", sa.String(16)),
        sa.Column("problem", sa.String(64)),
        sa.Column("kept", sa.Text),
        sa.Column("sealed_secrets", sa.LargeBinary),
        sa.Column("sealed_env", sa.LargeBinary),
        sa.Column("sealed_script", sa.LargeBinary),
        sa.Column("script_needs_network", sa.Boolean, nullable=False),
    )
    op.create_index("ix_reinstalls_state", "reinstalls", ["state"])


def downgrade() -> None:
    """Take it back."""
    op.drop_table("reinstalls")
