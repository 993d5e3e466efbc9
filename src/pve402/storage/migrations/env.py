"""Alembic's entry point: migrations run on the connection that storage.migrate passes in."""

from alembic import context

from pve402.storage import tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables.metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
