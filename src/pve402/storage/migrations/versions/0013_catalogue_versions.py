"""Versions of the catalogue, what guests are made from and on, and requests of this minute."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_STANDING = sa.text("ended_at IS NULL")


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "catalogue_versions",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "request_counts",
        sa.Column("minute", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("party", sa.String(100), primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
    )
    op.add_column("leases", sa.Column("made_of", sa.String(64)))
    op.add_column("leases", sa.Column("storage", sa.String(100)))
    _index_standing("storage")


def downgrade() -> None:
    """Take it back."""
    _index_standing()
    op.drop_column("leases", "storage")
    op.drop_column("leases", "made_of")
    op.drop_table("request_counts")
    op.drop_table("catalogue_versions")


def _index_standing(*more: str) -> None:
    """Make the index anew that placement reads instead of the table."""
    names = ["node", "status", "hold_order_id", *more, "cores", "memory_mb", "disk_gb", "ended_at"]
    op.drop_index("leases_standing", "leases")
    op.create_index(
        "leases_standing", "leases", names, postgresql_where=_STANDING, sqlite_where=_STANDING
    )
