"""Pages and static assets; they use only the public API."""
