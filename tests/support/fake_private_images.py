"""Private images in memory, for tests of the HTTP layer."""

from fractions import Fraction
from typing import Any

from tests.support import fake_leases

from pve402.domain import lease, private_images
from pve402.leases import service

IMAGE_RATES = {
    "base_usd": "0",
    "core_minute_usd": "0",
    "memory_gb_minute_usd": "0",
    "disk_gb_minute_usd": "0.00004",
}


def make_image(account: str, **changes: Any) -> lease.Lease:
    """An image of an account."""
    made = fake_leases.make_lease(private_images.owner_of(account), vmid=10001)
    told: dict[str, Any] = {"hostname": "tools", "rates": IMAGE_RATES}
    told |= {"size": private_images.size_of(8), "metadata": {"savedFrom": "l" + "1" * 25}}
    return made.evolve(**{**told, **changes})


class FakePrivateImages:
    """Images by id; keeps what it was asked for."""

    at_most = 5

    def __init__(self) -> None:
        self.images: dict[str, lease.Lease] = {}
        self.calls: list[str] = []
        self.failures: dict[str, Exception] = {}

    def add(self, made: lease.Lease) -> lease.Lease:
        """Keep an image."""
        self.images[made.lease_id] = made
        return made

    def lowest_usd(self) -> Fraction:
        self._called("lowest_usd")
        return Fraction("0.0024")

    def prices_of_saving(self, row: lease.Lease, minutes: int) -> list[Fraction]:
        self._called("prices_of_saving")
        return [Fraction("0.00004") * row.size.disk_gb * minutes]

    def prices_of_renewal(self, image: lease.Lease, minutes: int) -> list[Fraction]:
        return [Fraction("0.00004") * image.size.disk_gb * minutes]

    async def check_saving(self, *_given: Any) -> None:
        self._called("check_saving")

    async def check_renewable(self, *_given: Any) -> None:
        self._called("check_renewable")

    async def list_of(self, caller: service.Caller) -> list[lease.Lease]:
        self._called("list_of")
        return [one for one in self.images.values() if service.may_manage(caller, one)]

    async def find(self, image_id: str, caller: service.Caller | None = None) -> lease.Lease:
        found = self.images.get(image_id)
        if found is None or (caller is not None and not service.may_manage(caller, found)):
            raise private_images.ImageNotFound
        return found

    async def end(self, image: lease.Lease) -> lease.Lease:
        self._called("end")
        return image

    async def save(self, row: lease.Lease, _asked: Any, purchase: Any, _caller: Any) -> Any:
        self._called("save")
        image = self.add(make_image(purchase.owner, size=private_images.size_of(row.size.disk_gb)))
        paid = fake_leases.settled_order(purchase)
        return service.Answer(lease=image, order=paid, access_token="pve402_new")

    async def renew(self, image: lease.Lease, _minutes: int, purchase: Any, _caller: Any) -> Any:
        self._called("renew")
        return service.Answer(lease=image, order=fake_leases.settled_order(purchase))

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if call in self.failures:
            raise self.failures[call]
