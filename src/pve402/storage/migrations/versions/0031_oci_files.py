"""Files of OCI images on nodes: whether each is there, and whether it can be sold."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "oci_files",
        sa.Column("file_id", sa.String(32), primary_key=True),
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("volume", sa.String(255), nullable=False),
        sa.Column("reference", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("seen", sa.String(64)),
        sa.Column("verdict", sa.String(32)),
        sa.Column("problem", sa.String(32)),
        sa.Column("failures", sa.Integer, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in ("tried_at", "asked_at", "due_at")),
        sa.Column("upid", sa.String(255)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("fence", sa.String(32)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_error", sa.String(500)),
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("oci_files")
