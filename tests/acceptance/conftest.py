"""What acceptance tests stand on: processes of our own, real sockets, and a real browser."""

from tests.support.console_pages import chromium, page, profile, shots
from tests.support.processes import devnet, serve, service

__all__ = ["chromium", "devnet", "page", "profile", "serve", "service", "shots"]
