"""What benchmarks stand on: the same processes as acceptance tests."""

from tests.support.processes import devnet, serve, service

__all__ = ["devnet", "serve", "service"]
