"""Indexes for refused settlements, an owner's leases that are not over, and expiring tokens.

Revoked tokens are now deleted, so the old ones are deleted here too.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_REFUSED = sa.text("refusal = 'settlement_refused'")
_STANDING = sa.text("ended_at IS NULL")
_ENDS = sa.text("expires_at IS NOT NULL")
_OF_WALLET = sa.text("lease_id IS NULL")
_INDEXES = (
    ("orders_refused", "orders", ["payer", "created_at"], _REFUSED),
    ("leases_owner_standing", "leases", ["owner", "created_at"], _STANDING),
    ("tokens_expiry", "tokens", ["expires_at"], _ENDS),
    ("tokens_wallet", "tokens", ["owner", "created_at"], _OF_WALLET),
)


def upgrade() -> None:
    """Make the change."""
    op.execute("DELETE FROM tokens WHERE revoked_at IS NOT NULL")
    for name, table, columns, which in _INDEXES:
        op.create_index(name, table, columns, postgresql_where=which, sqlite_where=which)
    op.drop_index("orders_payer", "orders")


def downgrade() -> None:
    """Take it back."""
    op.create_index("orders_payer", "orders", ["payer", "created_at"])
    for name, table, _, which in reversed(_INDEXES):
        op.drop_index(name, table, postgresql_where=which, sqlite_where=which)
