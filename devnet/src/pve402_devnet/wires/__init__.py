"""Cables between guests: network namespaces, bridges, and packets that are really filtered."""
