"""How leases are connected, and who has or had which address."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_LIVE = sa.text("released_at IS NULL")


def upgrade() -> None:
    """Make the change."""
    for name, size, value in (("network", 32, "default"), ("link", 16, "ready")):
        kind = sa.String(size)
        op.add_column("leases", sa.Column(name, kind, nullable=False, server_default=value))
    held = sa.Column("addresses", sa.Text, nullable=False, server_default="{}")
    op.add_column("leases", held)
    op.add_column("leases", sa.Column("rules_at", sa.BigInteger))
    op.create_table(
        "addresses",
        sa.Column("holding_id", sa.Integer, primary_key=True),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("network", sa.String(32), nullable=False),
        sa.Column("lease_id", sa.String(32), nullable=False),
        sa.Column("taken_at", sa.BigInteger, nullable=False),
        sa.Column("released_at", sa.BigInteger),
        sa.Column("free_at", sa.BigInteger),
    )
    op.create_index(
        "addresses_live",
        "addresses",
        ["address"],
        unique=True,
        postgresql_where=_LIVE,
        sqlite_where=_LIVE,
    )
    op.create_index("addresses_free", "addresses", ["free_at"])
    op.create_index("addresses_lease", "addresses", ["lease_id"])
    op.create_index("addresses_history", "addresses", ["address", "taken_at"])
    op.create_index("addresses_newest", "addresses", ["network", "version", "holding_id"])


def downgrade() -> None:
    """Take it back."""
    op.drop_table("addresses")
    for name in ("rules_at", "addresses", "link", "network"):
        op.drop_column("leases", name)
