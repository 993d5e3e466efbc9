"""Pages and static assets; they use the public API only."""
