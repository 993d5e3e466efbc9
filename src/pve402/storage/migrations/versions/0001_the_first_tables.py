"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "console_tickets",
        sa.Column("ticket_hash", sa.String(length=64), nullable=False),
        sa.Column("lease_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("ticket_hash"),
    )
    with op.batch_alter_table("console_tickets", schema=None) as batch_op:
        batch_op.create_index("console_tickets_expiry", ["expires_at"], unique=False)
        batch_op.create_index("console_tickets_lease", ["lease_id"], unique=False)

    op.create_table(
        "facts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "guest_owners",
        sa.Column("guest", sa.String(length=80), nullable=False),
        sa.Column("replica", sa.String(length=64), nullable=False),
        sa.Column("peer_url", sa.String(length=255), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("guest"),
    )
    op.create_table(
        "leases",
        sa.Column("lease_id", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("vmid", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("sku", sa.String(length=64), nullable=False),
        sa.Column("cores", sa.Integer(), nullable=False),
        sa.Column("memory_mb", sa.Integer(), nullable=False),
        sa.Column("disk_gb", sa.Integer(), nullable=False),
        sa.Column("hostname", sa.String(length=64), nullable=False),
        sa.Column("template", sa.String(length=255), nullable=False),
        sa.Column("rates", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("deletes_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.String(length=64), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.String(length=32), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.String(length=500), nullable=True),
        sa.Column("hold_order_id", sa.String(length=32), nullable=True),
        sa.Column("hold_until", sa.BigInteger(), nullable=True),
        sa.Column("upid", sa.String(length=255), nullable=True),
        sa.Column("create_sent_at", sa.BigInteger(), nullable=True),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("restarts_since", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("lease_id"),
    )
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.create_index(
            "leases_due",
            ["due_at"],
            unique=False,
            postgresql_where=sa.text("due_at IS NOT NULL"),
            sqlite_where=sa.text("due_at IS NOT NULL"),
        )
        batch_op.create_index("leases_owner", ["owner", "created_at"], unique=False)
        batch_op.create_index("leases_vmid", ["vmid", "created_at"], unique=False)

    op.create_table(
        "node_slots",
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.String(length=32), nullable=True),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "slot"),
    )
    op.create_table(
        "orders",
        sa.Column("order_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("lease_id", sa.String(length=32), nullable=True),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.Column("asset", sa.String(length=64), nullable=False),
        sa.Column("payer", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.String(length=80), nullable=False),
        sa.Column("pay_to", sa.String(length=64), nullable=False),
        sa.Column("amount_atomic", sa.String(length=78), nullable=False),
        sa.Column("valid_before", sa.BigInteger(), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("idempotency_hash", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("client_address", sa.String(length=64), nullable=True),
        sa.Column("transaction", sa.String(length=80), nullable=True),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("refusal", sa.String(length=64), nullable=True),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.String(length=32), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.String(length=500), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("sealed_payment", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_secrets", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("order_id"),
        sa.UniqueConstraint("idempotency_hash"),
        sa.UniqueConstraint("network", "asset", "payer", "nonce", name="orders_payment"),
    )
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.create_index(
            "orders_due",
            ["due_at"],
            unique=False,
            postgresql_where=sa.text("due_at IS NOT NULL"),
            sqlite_where=sa.text("due_at IS NOT NULL"),
        )
        batch_op.create_index("orders_lease", ["lease_id", "created_at"], unique=False)
        batch_op.create_index("orders_payer", ["payer", "created_at"], unique=False)

    op.create_table(
        "signer_nonces",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("signer", sa.String(length=64), nullable=False),
        sa.Column("next_nonce", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "signer"),
    )
    op.create_table(
        "signer_transactions",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("signer", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payment_key", sa.String(length=255), nullable=False),
        sa.Column("transaction", sa.String(length=80), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "signer", "nonce"),
    )
    with op.batch_alter_table("signer_transactions", schema=None) as batch_op:
        batch_op.create_index("signer_transactions_payment", ["payment_key"], unique=False)

    op.create_table(
        "tokens",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("lease_id", sa.String(length=32), nullable=True),
        sa.Column("scope", sa.String(length=255), nullable=False),
        sa.Column("primary_of_lease", sa.Boolean(), nullable=False),
        sa.Column("by_key", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.create_index("tokens_lease", ["lease_id"], unique=False)

    op.create_table(
        "used_nonces",
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("nonce"),
    )
    with op.batch_alter_table("used_nonces", schema=None) as batch_op:
        batch_op.create_index("used_nonces_expiry", ["expires_at"], unique=False)

    op.create_table(
        "vmids",
        sa.Column("vmid", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lease_id", sa.String(length=32), nullable=True),
        sa.Column("reserved_at", sa.BigInteger(), nullable=False),
        sa.Column("free_at", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("vmid"),
    )


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("vmids")
    with op.batch_alter_table("used_nonces", schema=None) as batch_op:
        batch_op.drop_index("used_nonces_expiry")

    op.drop_table("used_nonces")
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.drop_index("tokens_lease")

    op.drop_table("tokens")
    with op.batch_alter_table("signer_transactions", schema=None) as batch_op:
        batch_op.drop_index("signer_transactions_payment")

    op.drop_table("signer_transactions")
    op.drop_table("signer_nonces")
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.drop_index("orders_payer")
        batch_op.drop_index("orders_lease")
        batch_op.drop_index(
            "orders_due",
            postgresql_where=sa.text("due_at IS NOT NULL"),
            sqlite_where=sa.text("due_at IS NOT NULL"),
        )

    op.drop_table("orders")
    op.drop_table("node_slots")
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.drop_index("leases_vmid")
        batch_op.drop_index("leases_owner")
        batch_op.drop_index(
            "leases_due",
            postgresql_where=sa.text("due_at IS NOT NULL"),
            sqlite_where=sa.text("due_at IS NOT NULL"),
        )

    op.drop_table("leases")
    op.drop_table("guest_owners")
    op.drop_table("facts")
    with op.batch_alter_table("console_tickets", schema=None) as batch_op:
        batch_op.drop_index("console_tickets_lease")
        batch_op.drop_index("console_tickets_expiry")

    op.drop_table("console_tickets")
