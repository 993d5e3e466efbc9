"""Leases that the operator suspends, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.add_column("leases", sa.Column("suspended_at", sa.BigInteger))
    op.add_column("leases", sa.Column("suspend_reason", sa.String(200)))
    op.add_column(
        "leases", sa.Column("time_held", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("leases", sa.Column("resumes_to", sa.String(16)))


def downgrade() -> None:
    """Take it back."""
    for name in ("resumes_to", "time_held", "suspend_reason", "suspended_at"):
        op.drop_column("leases", name)
