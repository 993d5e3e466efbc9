"""What acceptance tests stand on: processes of our own and real sockets between them."""

from tests.support.processes import devnet, serve, service

__all__ = ["devnet", "serve", "service"]
