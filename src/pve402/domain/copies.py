"""Copies of tenants' disks, forked or from private images, and what can be refused about them.

CopiesFailed    429
"""

from pve402.domain import errors


class CopiesFailed(errors.TooMany):
    """Copies for the wallet did not come up lately."""

    detail = (
        "Copies for this wallet did not come up lately; wait, and make sure that what is copied"
        " starts with a shell. Nothing was charged."
    )
    code = "copies_failed"
