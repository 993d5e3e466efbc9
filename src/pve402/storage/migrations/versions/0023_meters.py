"""The meter of a lease: what is left of its balance, and what it burns a minute."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change; leases that have no meter get one at their next change."""
    op.add_column("leases", sa.Column("balance", sa.String(78)))
    op.add_column("leases", sa.Column("burn", sa.String(78)))
    op.add_column("leases", sa.Column("metered_at", sa.BigInteger))
    op.add_column("orders", sa.Column("credit", sa.String(78)))


def downgrade() -> None:
    """Take it back."""
    op.drop_column("orders", "credit")
    for name in ("metered_at", "burn", "balance"):
        op.drop_column("leases", name)
