"""HTTP itself: connections, bodies, headers, limits, and which handler a request goes to."""
