"""What tenants let in to their guests, and which choices the rules on a guest were made of."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.add_column("leases", sa.Column("openings", sa.Text))
    op.add_column("leases", sa.Column("rules_key", sa.String(16)))


def downgrade() -> None:
    """Take it back."""
    for name in ("rules_key", "openings"):
        op.drop_column("leases", name)
