"""Money that bought nothing: the table of debts, and what orders know of their delivery."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OPEN = sa.text("closed_at IS NULL")


def upgrade() -> None:
    """Make the change."""
    op.add_column("orders", sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("orders", sa.Column("tried_at", sa.BigInteger()))
    op.add_column("orders", sa.Column("owed_id", sa.String(32)))
    op.create_table(
        "owed",
        sa.Column("owed_id", sa.String(32), primary_key=True),
        sa.Column("order_id", sa.String(32), nullable=False, unique=True),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("network", sa.String(64), nullable=False),
        sa.Column("asset", sa.String(64), nullable=False),
        sa.Column("payer", sa.String(64), nullable=False),
        sa.Column("amount_atomic", sa.String(78), nullable=False),
        sa.Column("left_atomic", sa.String(78), nullable=False),
        sa.Column("transaction", sa.String(80)),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.String(500)),
        sa.Column("holder_order_id", sa.String(32)),
        sa.Column("closed_at", sa.BigInteger()),
        sa.Column("paid_transaction", sa.String(80)),
        sa.Column("paid_log", sa.Integer()),
        sa.UniqueConstraint("network", "paid_transaction", "paid_log", name="owed_paid"),
    )
    op.create_index(
        "owed_open",
        "owed",
        ["payer", "created_at"],
        postgresql_where=_OPEN,
        sqlite_where=_OPEN,
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_index("owed_open", "owed")
    op.drop_table("owed")
    for name in ("owed_id", "tried_at", "tries"):
        op.drop_column("orders", name)
