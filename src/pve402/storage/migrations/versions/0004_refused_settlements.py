"""An index for the refused settlements of a payer, in place of one for all that he ever paid."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_REFUSED = sa.text("refusal = 'settlement_refused'")


def upgrade() -> None:
    """Make the change."""
    op.create_index(
        "orders_refused",
        "orders",
        ["payer", "created_at"],
        postgresql_where=_REFUSED,
        sqlite_where=_REFUSED,
    )
    op.drop_index("orders_payer", "orders")


def downgrade() -> None:
    """Take it back."""
    op.create_index("orders_payer", "orders", ["payer", "created_at"])
    op.drop_index("orders_refused", "orders", postgresql_where=_REFUSED, sqlite_where=_REFUSED)
