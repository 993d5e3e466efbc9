"""HTTP itself: connections, bodies, headers, limits and dispatch to handlers."""
