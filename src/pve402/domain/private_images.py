"""Private images: what a lease leaves behind for its tenant, and what can be refused about them.

A private image is a lease row whose guest is a template. It burns its disk at a rate of its own.

ImagesNotOffered, ImageExists, ImageNeedsKey, ImageEnded    409
ImageNotFound                                               404
TooManyImages                                               429
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Final

from pve402.domain import errors, lease, price

_NAME: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])")
MOST_ALLOWED: Final = 1000
"""The most that an operator may allow for each wallet."""
SAVED_FROM: Final = "savedFrom"
"""The name in an image's metadata of the lease that it was saved from."""
LEAST_MINUTES: Final = 60
"""How long an image is paid for at least, since the copy costs its node time."""
CORES: Final = 1
MEMORY_MB: Final = 128
"""Of what is never started, so they are neither counted nor paid for."""


class ImagesNotOffered(errors.Conflict):
    """The sku has no rate for private images."""

    detail = "This container cannot be saved: its sku offers no private images."
    code = "images_not_offered"


class ImageExists(errors.Conflict):
    """The wallet has an image of that name."""

    detail = "This wallet already has a private image of that name; nothing was charged."
    code = "image_exists"


class ImageNotFound(errors.LeaseNotFound):
    """The caller has no such image."""

    detail = "This caller has no such private image."
    code = "image_not_found"


class ImageNeedsKey(errors.Conflict):
    """A container that is paid before it starts cannot be made from an image, nor one be kept."""

    detail = (
        "A container from a private image is paid once it runs, which needs a wallet with a key"
        " of its own whose last payment did not fail; nothing was charged."
    )
    code = "image_needs_key"


class ImageEnded(errors.Conflict):
    """The image is in its grace period."""

    detail = "What was paid for this private image is used up: renew it first."
    code = "image_ended"


class TooManyImages(errors.TooMany):
    """The wallet, or all wallets together, have as many images as the operator allows."""

    detail = "No more private images can be saved now; delete one first. Nothing was charged."
    code = "too_many_images"
    retry_after_seconds = None


def saved_from(image: lease.Lease) -> str | None:
    """Return the lease that an image was saved from; None: not known, after a rebuild."""
    found: Mapping[str, Any] = image.metadata
    return found.get(SAVED_FROM)


def check_unsaved(images: Iterable[lease.Lease], lease_id: str) -> None:
    """Raise LeaseBusy while a lease's guest is saved as one of some images."""
    if any(not row.handed_over and saved_from(row) == lease_id for row in images):
        raise errors.LeaseBusy("The container is being saved; try again in a moment.")


def check_name(name: str) -> str:
    """Return a name that a tenant may give: it names the guest, too. Raises InvalidRequest."""
    if _NAME.fullmatch(name) is None:
        raise errors.InvalidRequest(
            "name must begin with a letter, end with a letter or digit, and have 2 to 40 small"
            " letters, digits and hyphens"
        )
    return name


def template_of(image_id: str) -> str:
    """Return what a lease from a private image has for a template.

    No volume on Proxmox can have such a name, so nobody unpacks it by mistake.
    """
    return f"{lease.PRIVATE_TEMPLATE}{image_id}"


def chosen(template: str | None) -> str | None:
    """Return the id of the private image that a template names; None if it names none."""
    image_id = (template or "").removeprefix(lease.PRIVATE_TEMPLATE)
    is_named = template == template_of(image_id) and lease.is_lease_id(image_id)
    return image_id if is_named else None


def owner_of(account: str) -> str:
    """Return the owner of the private images of an account."""
    return f"{lease.PRIVATE}{account}"


def size_of(disk_gb: int) -> lease.Size:
    """Return the size of an image."""
    return lease.Size(cores=CORES, memory_mb=MEMORY_MB, disk_gb=disk_gb)


def rates_of(sold: price.Rates) -> price.Rates:
    """Return the rates that an image is kept at: its disk alone costs anything."""
    none = Fraction(0)
    return price.Rates(
        base_usd=none,
        core_minute_usd=none,
        memory_gb_minute_usd=none,
        disk_gb_minute_usd=sold.image_gb_usd_minute,
    )


def minute_usd(rates: Mapping[str, str], disk_gb: int) -> Fraction:
    """Return what an image costs a minute at its stored rates."""
    return price.minute_usd(price.Rates.from_strings(rates), size_of(disk_gb))
