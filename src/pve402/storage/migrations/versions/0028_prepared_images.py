"""Which prepared image a lease's guest is cloned from."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.add_column("leases", sa.Column("base", sa.String(32)))


def downgrade() -> None:
    """Take it back."""
    with op.batch_alter_table("leases") as batch_op:
        batch_op.drop_column("base")
