"""Who bought a lease from where, and whom the operator sells nothing to."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_STANDING = sa.text("ended_at IS NULL")


def upgrade() -> None:
    """Make the change."""
    op.add_column("leases", sa.Column("client_address", sa.String(64)))
    op.create_index(
        "leases_client_standing",
        "leases",
        ["client_address"],
        postgresql_where=_STANDING,
        sqlite_where=_STANDING,
    )
    op.create_table(
        "block_rules",
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("effect", sa.String(8), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("block_rules")
    op.drop_index("leases_client_standing", "leases")
    op.drop_column("leases", "client_address")
