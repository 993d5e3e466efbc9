"""The tables. Times are milliseconds by the database's clock, amounts atomic units as text."""

from typing import Any

import sqlalchemy as sa

from pve402.storage.column_types import Amount, JsonText, UtcMilliseconds
from pve402.storage.guest_tables import (
    forks,
    metadata,
    oci_files,
    reinstalls,
    size_changes,
    snapshots,
)

__all__ = ["forks", "metadata", "oci_files", "reinstalls", "size_changes", "snapshots"]  # and more


def _index_of_some(
    name: str, which: sa.ColumnElement[bool], *columns: sa.ColumnElement[Any]
) -> None:
    """Add a partial index of the rows that meet a condition, on either database."""
    sa.Index(name, *columns, postgresql_where=which, sqlite_where=which)


leases = sa.Table(
    "leases",
    metadata,
    sa.Column("lease_id", sa.String(32), primary_key=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("node", sa.String(64), nullable=False),
    sa.Column("vmid", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("sku", sa.String(64), nullable=False),
    sa.Column("cores", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("disk_gb", sa.Integer, nullable=False),
    sa.Column("hostname", sa.String(64), nullable=False),
    sa.Column("template", sa.String(255), nullable=False),
    sa.Column("rates", JsonText, nullable=False),
    sa.Column("metadata", JsonText, nullable=False),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
    *(sa.Column(name, UtcMilliseconds) for name in ("expires_at", "deletes_at", "ended_at")),
    sa.Column("end_reason", sa.String(64)),
    sa.Column("due_at", UtcMilliseconds),
    sa.Column("fence", sa.String(32)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_error", sa.String(500)),
    sa.Column("hold_order_id", sa.String(32)),
    sa.Column("hold_until", UtcMilliseconds),
    sa.Column("upid", sa.String(255)),
    sa.Column("create_sent_at", UtcMilliseconds),
    sa.Column("restarts", sa.Integer, nullable=False),
    sa.Column("restarts_since", UtcMilliseconds),
    sa.Column("pooled_at", UtcMilliseconds),
    sa.Column("wanted", sa.String(16), nullable=False, server_default="running"),
    sa.Column("wanted_by", sa.String(16), nullable=False, server_default="service"),
    sa.Column("suspended_at", UtcMilliseconds),
    sa.Column("suspend_reason", sa.String(200)),
    sa.Column("time_held", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("resumes_to", sa.String(16)),
    sa.Column("client_address", sa.String(64)),
    sa.Column("network", sa.String(32), nullable=False, server_default="default"),
    sa.Column("addresses", JsonText, nullable=False, server_default="{}"),
    sa.Column("address_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("link", sa.String(16), nullable=False, server_default="ready"),
    sa.Column("rules_at", UtcMilliseconds),
    sa.Column("rules_key", sa.String(16)),
    sa.Column("openings", JsonText),
    sa.Column("made_of", sa.String(64)),
    sa.Column("storage", sa.String(100)),
    *(sa.Column("base", sa.String(32)), sa.Column("forked_from", sa.String(32))),
    *(sa.Column(name, Amount) for name in ("balance", "burn")),
    sa.Column("metered_at", UtcMilliseconds),
    *(sa.Column(name, UtcMilliseconds) for name in ("pause_asked_at", "paused_at", "wakes_since")),
    sa.Column("paused", JsonText),
    *(sa.Column("snapshot_gb", sa.Integer), sa.Column("snapshot_burn", Amount)),
    sa.Column("wakes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("active_at", UtcMilliseconds),
)
_due = leases.c.due_at.isnot(None)
_index_of_some("leases_due", _due, leases.c.due_at)
_standing = leases.c.ended_at.is_(None)
_index_of_some(
    "leases_standing",
    _standing,
    *(leases.c[name] for name in ("node", "status", "hold_order_id", "storage")),
    *(leases.c[name] for name in ("cores", "memory_mb", "disk_gb", "paused_at", "ended_at")),
)
sa.Index("leases_owner", leases.c.owner, leases.c.created_at)
_index_of_some("leases_owner_standing", _standing, leases.c.owner, leases.c.created_at)
_index_of_some("leases_client_standing", _standing, leases.c.client_address)
sa.Index("leases_vmid", leases.c.vmid, leases.c.created_at)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("order_id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("lease_id", sa.String(32)),
    sa.Column("network", sa.String(64), nullable=False),
    sa.Column("asset", sa.String(64), nullable=False),
    sa.Column("payer", sa.String(64), nullable=False),
    sa.Column("nonce", sa.String(80), nullable=False),
    sa.Column("pay_to", sa.String(64), nullable=False),
    sa.Column("amount_atomic", Amount, nullable=False),
    sa.Column("valid_before", UtcMilliseconds, nullable=False),
    sa.Column("minutes", sa.Integer, nullable=False),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("idempotency_hash", sa.String(64), unique=True),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
    sa.Column("client_address", sa.String(64)),
    sa.Column("transaction", sa.String(80)),
    sa.Column("settled_at", UtcMilliseconds),
    sa.Column("refusal", sa.String(64)),
    sa.Column("final", sa.Boolean, nullable=False),
    sa.Column("due_at", UtcMilliseconds),
    sa.Column("fence", sa.String(32)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_error", sa.String(500)),
    sa.Column("expires_at", UtcMilliseconds),
    sa.Column("sealed_payment", sa.LargeBinary),
    sa.Column("sealed_secrets", sa.LargeBinary),
    sa.Column("described_at", UtcMilliseconds),
    sa.Column("settling_at", UtcMilliseconds),
    sa.Column("settles_first", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("tried_at", UtcMilliseconds),
    *(sa.Column("owed_id", sa.String(32)), sa.Column("part_of", sa.String(32), index=True)),
    sa.Column("parts", sa.Integer, nullable=False, server_default="1"),
    sa.Column("credit", Amount),
    sa.UniqueConstraint("network", "asset", "payer", "nonce", name="orders_payment"),
)
_due = orders.c.due_at.isnot(None)
_index_of_some("orders_due", _due, orders.c.due_at)
sa.Index("orders_lease", orders.c.lease_id, orders.c.created_at)
_refused = orders.c.refusal == sa.literal_column("'settlement_refused'")
_index_of_some("orders_refused", _refused, orders.c.payer, orders.c.created_at)

environments = sa.Table(
    "environments",
    metadata,
    sa.Column("order_id", sa.String(32), primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

user_data = sa.Table(
    "user_data",
    metadata,
    sa.Column("order_id", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("needs_network", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
    sa.Column("exec_id", sa.String(32)),
    *(sa.Column(name, UtcMilliseconds) for name in ("started_at", "ended_at", "due_at")),
    sa.Column("exit_code", sa.Integer),
    sa.Column("reason", sa.String(32)),
    sa.Column("truncated", sa.Boolean, nullable=False),
    *(sa.Column(name, sa.LargeBinary) for name in ("sealed_script", "sealed_output")),
    sa.Column("fence", sa.String(32)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_error", sa.String(500)),
)
_due = user_data.c.due_at.isnot(None)
_index_of_some("user_data_due", _due, user_data.c.due_at)

owed = sa.Table(
    "owed",
    metadata,
    sa.Column("owed_id", sa.String(32), primary_key=True),
    sa.Column("order_id", sa.String(32), nullable=False, unique=True),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("network", sa.String(64), nullable=False),
    sa.Column("asset", sa.String(64), nullable=False),
    sa.Column("payer", sa.String(64), nullable=False),
    sa.Column("amount_atomic", Amount, nullable=False),
    sa.Column("left_atomic", Amount, nullable=False),
    sa.Column("transaction", sa.String(80)),
    sa.Column("since", UtcMilliseconds, nullable=False),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("last_error", sa.String(500)),
    sa.Column("holder_order_id", sa.String(32)),
    sa.Column("closed_at", UtcMilliseconds),
    sa.Column("paid_transaction", sa.String(80)),
    sa.Column("paid_log", sa.Integer),
    sa.UniqueConstraint("network", "paid_transaction", "paid_log", name="owed_paid"),
)
_unpaid = owed.c.closed_at.is_(None)
_index_of_some("owed_open", _unpaid, owed.c.payer, owed.c.created_at)

vmids = sa.Table(
    "vmids",
    metadata,
    sa.Column("vmid", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("lease_id", sa.String(32)),
    sa.Column("reserved_at", UtcMilliseconds, nullable=False),
    sa.Column("free_at", UtcMilliseconds),
    sa.Column("note", sa.String(64)),
)
_resting = vmids.c.free_at.isnot(None)
sa.Index("vmids_newest", vmids.c.reserved_at, vmids.c.vmid)
_index_of_some("vmids_resting", _resting, vmids.c.free_at)

addresses = sa.Table(
    "addresses",
    metadata,
    sa.Column("holding_id", sa.Integer, primary_key=True),
    sa.Column("address", sa.String(45), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("network", sa.String(32), nullable=False),
    sa.Column("lease_id", sa.String(32), nullable=False),
    sa.Column("taken_at", UtcMilliseconds, nullable=False),
    sa.Column("released_at", UtcMilliseconds),
    sa.Column("free_at", UtcMilliseconds),
)
_live = addresses.c.released_at.is_(None)
sa.Index(
    "addresses_live",
    addresses.c.address,
    unique=True,
    postgresql_where=_live,
    sqlite_where=_live,
)
sa.Index("addresses_free", addresses.c.free_at)
sa.Index("addresses_lease", addresses.c.lease_id)
sa.Index("addresses_history", addresses.c.address, addresses.c.taken_at)
sa.Index("addresses_newest", addresses.c.network, addresses.c.version, addresses.c.holding_id)

happenings = sa.Table(
    "happenings",
    metadata,
    sa.Column("happening_id", sa.Integer, primary_key=True),
    sa.Column("at", UtcMilliseconds, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("detail", sa.String(500), nullable=False),
    sa.Column("lease_id", sa.String(32)),
    sa.Column("order_id", sa.String(32)),
    sa.Column("vmid", sa.Integer),
)
sa.Index("happenings_lease", happenings.c.lease_id, happenings.c.kind)
sa.Index("happenings_order", happenings.c.order_id)
sa.Index("happenings_at", happenings.c.at)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("lease_id", sa.String(32)),
    sa.Column("scope", sa.String(255), nullable=False),
    sa.Column("primary_of_lease", sa.Boolean, nullable=False),
    sa.Column("by_key", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
    sa.Column("expires_at", UtcMilliseconds),
    sa.Column("revoked_at", UtcMilliseconds),
)
_ends = tokens.c.expires_at.isnot(None)
_of_wallet = tokens.c.lease_id.is_(None)
sa.Index("tokens_lease", tokens.c.lease_id)
_index_of_some("tokens_expiry", _ends, tokens.c.expires_at)
_index_of_some("tokens_wallet", _of_wallet, tokens.c.owner, tokens.c.created_at)

console_tickets = sa.Table(
    "console_tickets",
    metadata,
    sa.Column("ticket_hash", sa.String(64), primary_key=True),
    sa.Column("lease_id", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("token_hash", sa.String(64)),
    sa.Column("expires_at", UtcMilliseconds, nullable=False),
    sa.Column("used_at", UtcMilliseconds),
)
sa.Index("console_tickets_expiry", console_tickets.c.expires_at)
sa.Index("console_tickets_lease", console_tickets.c.lease_id)

used_nonces = sa.Table(
    "used_nonces",
    metadata,
    sa.Column("nonce", sa.String(64), primary_key=True),
    sa.Column("expires_at", UtcMilliseconds, nullable=False),
)
sa.Index("used_nonces_expiry", used_nonces.c.expires_at)

node_slots = sa.Table(
    "node_slots",
    metadata,
    sa.Column("node", sa.String(64), primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("holder", sa.String(32)),
    sa.Column("held_until", UtcMilliseconds, nullable=False),
)

signer_nonces = sa.Table(
    "signer_nonces",
    metadata,
    sa.Column("chain_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("signer", sa.String(64), primary_key=True),
    sa.Column("next_nonce", sa.BigInteger, nullable=False),
)

signer_transactions = sa.Table(
    "signer_transactions",
    metadata,
    sa.Column("chain_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("signer", sa.String(64), primary_key=True),
    sa.Column("nonce", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("payment_key", sa.String(255), nullable=False),
    sa.Column("transaction", sa.String(80), nullable=False),
    sa.Column("raw", sa.Text, nullable=False),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
)
sa.Index("signer_transactions_payment", signer_transactions.c.payment_key)

guest_owners = sa.Table(
    "guest_owners",
    metadata,
    sa.Column("guest", sa.String(80), primary_key=True),
    sa.Column("replica", sa.String(64), nullable=False),
    sa.Column("peer_url", sa.String(255)),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("held_until", UtcMilliseconds, nullable=False),
)

block_rules = sa.Table(
    "block_rules",
    metadata,
    sa.Column("subject", sa.String(64), primary_key=True),
    sa.Column("effect", sa.String(8), nullable=False),
    sa.Column("reason", sa.String(200), nullable=False),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
)

drained_nodes = sa.Table(
    "drained_nodes",
    metadata,
    sa.Column("node", sa.String(64), primary_key=True),
    sa.Column("drained_at", UtcMilliseconds, nullable=False),
)

proven_filters = sa.Table(
    "proven_filters",
    metadata,
    sa.Column("node", sa.String(64), primary_key=True),
    sa.Column("program", sa.String(32), nullable=False),
    sa.Column("version", sa.String(64)),
    sa.Column("proven_at", UtcMilliseconds, nullable=False),
)

request_counts = sa.Table(
    "request_counts",
    metadata,
    sa.Column("minute", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("party", sa.String(100), primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
)

catalogue_versions = sa.Table(
    "catalogue_versions",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("made_at", UtcMilliseconds, nullable=False),
)

ports = sa.Table(
    "ports",
    metadata,
    sa.Column("lease_id", sa.String(32), primary_key=True),
    sa.Column("port", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("access", sa.String(8), nullable=False),
    sa.Column("created_at", UtcMilliseconds, nullable=False),
    sa.Column("expires_at", UtcMilliseconds),
)

port_logins = sa.Table(
    "port_logins",
    metadata,
    sa.Column("login_hash", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("lease_id", sa.String(32), nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("token_hash", sa.String(64)),
    sa.Column("expires_at", UtcMilliseconds, nullable=False, index=True),
)
sa.Index("port_logins_port", port_logins.c.lease_id, port_logins.c.port)

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
