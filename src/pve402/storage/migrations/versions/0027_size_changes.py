"""Changes of the sizes of leases: the latest of each lease."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "size_changes",
        sa.Column("lease_id", sa.String(32), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        *(
            sa.Column(f"{name}_{when}", sa.Integer, nullable=False)
            for when in ("before", "after")
            for name in ("cores", "memory_mb", "disk_gb")
        ),
        sa.Column("burn_before", sa.String(78), nullable=False),
        sa.Column("burn_after", sa.String(78), nullable=False),
        sa.Column("rates_after", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("may_restart", sa.Boolean, nullable=False),
        sa.Column("began_at", sa.BigInteger),
        sa.Column("asked_at", sa.BigInteger),
        sa.Column("upid", sa.String(255)),
        sa.Column("disk_bytes", sa.BigInteger),
        sa.Column("kept", sa.Text),
        sa.Column("resumes_to", sa.String(16)),
        sa.Column("problem", sa.String(64)),
    )
    op.create_index("ix_size_changes_state", "size_changes", ["state"])


def downgrade() -> None:
    """Take it back."""
    op.drop_table("size_changes")
