"""Ports of guests under host names, and who is logged in to them."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "ports",
        sa.Column("lease_id", sa.String(32), primary_key=True),
        sa.Column("port", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("access", sa.String(8), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
    )
    op.create_table(
        "port_logins",
        sa.Column("login_hash", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("lease_id", sa.String(32), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("token_hash", sa.String(64)),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("port_logins_port", "port_logins", ["lease_id", "port"])
    op.create_index("ix_port_logins_expires_at", "port_logins", ["expires_at"])


def downgrade() -> None:
    """Take it back."""
    op.drop_table("port_logins")
    op.drop_table("ports")
