"""Use cases: the lease service, its workflows, the worker and the reconciler."""
