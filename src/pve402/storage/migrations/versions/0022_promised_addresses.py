"""How many addresses a lease has or was promised."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_HELD = sa.text(
    "UPDATE leases SET address_count = (SELECT count(*) FROM addresses"
    " WHERE addresses.lease_id = leases.lease_id AND addresses.released_at IS NULL)"
    " WHERE ended_at IS NULL"
)


def upgrade() -> None:
    """Make the change."""
    count = sa.Column("address_count", sa.Integer, nullable=False, server_default="0")
    op.add_column("leases", count)
    op.execute(_HELD)


def downgrade() -> None:
    """Take it back."""
    op.drop_column("leases", "address_count")
