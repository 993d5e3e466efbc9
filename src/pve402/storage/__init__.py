"""Tables, queries and migrations; SQLite and PostgreSQL."""
