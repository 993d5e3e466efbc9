"""What is on sale now, and at which prices tenants were asked to pay a moment ago.

Everything that reads the catalogue holds an `OnSale` and asks it each time, as the catalogue may
be replaced at any moment; `catalogue_versions` does that. A version that was replaced keeps its
prices for as long as a payment signed for them may be valid.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

from pve402.domain import catalogue, lease, making, networks


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Version:
    """One version of the catalogue, as this process completed it with its settings."""

    number: int  # 0: of this process's file, not published yet
    catalogue: catalogue.Catalogue


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """A version that was replaced, whose prices hold until a time of the process's clock."""

    version: Version
    until: float


class OnSale:
    """The version on sale, and those before it whose prices still hold."""

    def __init__(
        self,
        first: catalogue.Catalogue | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with a catalogue; without one, nothing can be read until `replace`."""
        self._clock = clock
        self._version = None if first is None else Version(number=0, catalogue=first)
        self._held: Sequence[Held] = ()
        self._listeners: list[Callable[[], None]] = []
        self.missing: str = "no catalogue was read"
        """Why there is no version, if there is none."""

    @property
    def version(self) -> Version:
        """The version on sale. Raises CatalogueError if none could be read."""
        if self._version is None:
            raise catalogue.CatalogueError(self.missing)
        return self._version

    @property
    def now(self) -> catalogue.Catalogue:
        """The catalogue on sale. Raises CatalogueError if none could be read."""
        return self.version.catalogue

    @property
    def is_known(self) -> bool:
        """Whether there is a version."""
        return self._version is not None

    def held(self) -> list[catalogue.Catalogue]:
        """Return the catalogues before this one whose prices still hold, the newest first."""
        now = self._clock()
        return [held.version.catalogue for held in self._held if held.until > now]

    def replace(self, version: Version, held: Sequence[Held]) -> None:
        """Put a version on sale, and hold the prices of others."""
        is_new = self._version is None or self._version is not version
        self._version, self._held = version, held
        if is_new:
            for told in self._listeners:
                told()

    def when_replaced(self, told: Callable[[], None]) -> None:
        """Call a function whenever another version is on sale."""
        self._listeners.append(told)

    def network_of(self, row: lease.Lease) -> networks.NetworkProfile | None:
        """Return the network of a lease's guest, by `catalogue_of`; None if it is gone."""
        return self.catalogue_of(row).networks.get(row.network)

    def isolation_of(self, row: lease.Lease) -> networks.NetworkProfile | None:
        """Return the isolated network that a lease's guest is to be fenced by; None if none is.

        A guest from before its network was isolated is fenced by today's, on demand.
        """
        for profile in (self.network_of(row), self.now.networks.get(row.network)):
            if profile is not None and profile.is_isolated:
                return profile
        return None

    def catalogue_of(self, row: lease.Lease) -> catalogue.Catalogue:
        """Return the catalogue that a lease's guest is made by.

        It is the one that the lease was reserved by, while that is known, else today's: a guest in
        the making is finished as it was begun.
        """
        for sold in (self.now, *(held.version.catalogue for held in self._held)):
            profile = sold.networks.get(row.network)
            if profile and making.digest(sold.skus.get(row.sku), profile) == row.made_of:
                return sold
        return self.now
