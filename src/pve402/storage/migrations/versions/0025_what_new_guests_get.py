"""What tenants give new guests: variables, and scripts that run once."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "environments",
        sa.Column("order_id", sa.String(32), primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "user_data",
        sa.Column("order_id", sa.String(32), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("needs_network", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("exec_id", sa.String(32)),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("exit_code", sa.Integer),
        sa.Column("reason", sa.String(32)),
        sa.Column("truncated", sa.Boolean, nullable=False),
        sa.Column("sealed_script", sa.LargeBinary),
        sa.Column("sealed_output", sa.LargeBinary),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("fence", sa.String(32)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_error", sa.String(500)),
    )
    due = sa.text("due_at IS NOT NULL")
    op.create_index(
        "user_data_due", "user_data", ["due_at"], postgresql_where=due, sqlite_where=due
    )


def downgrade() -> None:
    """Take it back."""
    op.drop_table("user_data")
    op.drop_table("environments")
