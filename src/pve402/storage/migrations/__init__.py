"""Alembic environment of the tables."""
