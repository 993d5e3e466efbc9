"""Commands of tenants start at once."""

from tests.support.preloaded import tenant_forks

__all__ = ["tenant_forks"]
