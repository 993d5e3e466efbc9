"""What the suites of others run against: a devnet and a service, in processes of their own."""

from tests.support.processes import devnet, service

__all__ = ["devnet", "service"]
