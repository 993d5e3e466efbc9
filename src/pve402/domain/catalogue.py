"""What the operator sells: skus with their rates and bounds, read from TOML."""

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Self

from pve402.domain import (
    errors,
    image_tables,
    lease,
    network_tables,
    price,
    private_images,
    toml_values,
)
from pve402.domain.networks import OF_VARIABLES, NetworkProfile, find_overlap

CatalogueError = toml_values.CatalogueError
MAX_MINUTES = 366 * 24 * 60
_MOST_OVERCOMMIT = 100
_MOST_STORAGES = 16
_MOST_WEIGHT = 10_000
_HARD_LIMITS = {"cores": 512, "memory_mb": 4 * 1024 * 1024, "disk_gb": 64 * 1024}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """The least and the most of a resource that a sku sells."""

    least: int
    most: int

    def check(self, name: str, value: int) -> None:
        """Raise OutOfBounds unless the value is within the bounds, both ends included."""
        if not self.least <= value <= self.most:
            raise errors.OutOfBounds(
                f"{name} must be between {self.least} and {self.most}, not {value}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sku:
    """One sellable shape."""

    name: str
    description: str
    rates: price.Rates
    cores: Bounds
    memory_mb: Bounds
    disk_gb: Bounds
    runtime_minutes: Bounds
    templates: Mapping[str, str]  # tenants' name -> volume id, with those of its images;
    # empty: the operator's default
    nodes: frozenset[str]  # empty: every node
    nesting: bool = True  # current systemd needs this in an unprivileged guest
    swap: Decimal = Decimal(0)  # for each MiB of memory
    cpu_limit: Decimal | None = None  # CPU time for each core; None: all of it
    cpu_units: int | None = None  # weight for each core; None: one weight for all sizes
    network: str | None = None  # the name of its network profile; None: the default one
    storages: tuple[str, ...] = ()  # for its disks, the preferred one first; empty: the default one
    images: tuple[str, ...] = ()  # names; their templates are among its templates
    address_count: int = 0  # of the addresses that its network gives each container alone

    def is_sold_on(self, node: str) -> bool:
        """Whether its containers may be on a node."""
        return not self.nodes or node in self.nodes

    def check(self, size: lease.Size, minutes: int) -> None:
        """Raise OutOfBounds if a number of the request is outside what this sku sells."""
        self.cores.check("cores", size.cores)
        self.memory_mb.check("memoryMB", size.memory_mb)
        self.disk_gb.check("diskGB", size.disk_gb)
        self.runtime_minutes.check("runtimeMinutes", minutes)

    def template_volume(self, name: str | None, default: str) -> str:
        """Return the volume id of a template by the name tenants use, by default the sku's own.

        A private image is its own; whose it is, is another question.
        """
        if name is None:
            return next(iter(self.templates.values()), default)
        if private_images.chosen(name) is not None:
            return name
        if name not in self.templates:
            raise errors.UnknownTemplate
        return self.templates[name]

    @property
    def smallest(self) -> lease.Size:
        """The smallest size on sale."""
        return lease.Size(
            cores=self.cores.least, memory_mb=self.memory_mb.least, disk_gb=self.disk_gb.least
        )

    @property
    def largest(self) -> lease.Size:
        """The largest size on sale."""
        return lease.Size(
            cores=self.cores.most, memory_mb=self.memory_mb.most, disk_gb=self.disk_gb.most
        )

    def price_usd(self, size: lease.Size, minutes: int, *, with_base: bool = True) -> Fraction:
        """Return the exact price of a new lease, or of a renewal without the base."""
        count = self.address_count
        return price.lease_price_usd(
            self.rates, size, minutes, addresses=count, with_base=with_base
        )

    def lowest_price_usd(self) -> Fraction:
        """Return the price of the smallest size for the shortest time."""
        return self.price_usd(self.smallest, self.runtime_minutes.least)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All skus and network profiles by name, and the fee for a management call."""

    skus: Mapping[str, Sku]
    management_fee_usd: Fraction
    networks: Mapping[str, NetworkProfile] = dataclasses.field(default_factory=dict)
    default_network: str = OF_VARIABLES
    disk_factors: Mapping[str, float] = dataclasses.field(default_factory=dict)  # by storage
    images: Mapping[str, image_tables.Image] = dataclasses.field(default_factory=dict)

    def sku(self, name: str) -> Sku:
        """Return the sku with this name; raises UnknownSku."""
        found = self.skus.get(name)
        if found is None:
            raise errors.UnknownSku(f"unknown sku; on sale are: {', '.join(sorted(self.skus))}")
        return found

    def network_of(self, sku: Sku) -> NetworkProfile:
        """Return the profile that new guests of a sku are connected by."""
        return self.networks[sku.network or self.default_network]

    @property
    def networks_on_sale(self) -> Mapping[str, NetworkProfile]:
        """The profiles that new guests may get."""
        names = {sku.network or self.default_network for sku in self.skus.values()}
        return {name: profile for name, profile in self.networks.items() if name in names}

    def with_network(self, of_variables: NetworkProfile) -> Self:
        """Return a copy with the profile that the variables make.

        It serves the skus that name no network, unless the catalogue marks another as default.
        Raises CatalogueError if two pools share an address.
        """
        profiles = {**self.networks, of_variables.name: of_variables}
        skus = _connected(self.skus, profiles, self.default_network)
        found = dataclasses.replace(self, networks=profiles, skus=skus)
        overlap = find_overlap(found.networks_on_sale)
        if overlap is not None:
            raise CatalogueError(f"network: {overlap}")
        return found

    def lowest_price_usd(self) -> Fraction:
        """Return the lowest price that any lease can have."""
        return min(sku.lowest_price_usd() for sku in self.skus.values())

    def with_template(self, volume: str) -> Self:
        """Return a copy in which skus without templates offer the operator's default."""
        usual = {_template_name(volume): volume}
        skus = {
            name: sku if sku.templates else dataclasses.replace(sku, templates=usual)
            for name, sku in self.skus.items()
        }
        return dataclasses.replace(self, skus=skus)

    def with_storage(self, name: str) -> Self:
        """Return a copy in which skus without storages use the operator's default."""
        skus = {
            each: sku if sku.storages else dataclasses.replace(sku, storages=(name,))
            for each, sku in self.skus.items()
        }
        return dataclasses.replace(self, skus=skus)

    @property
    def storages(self) -> Mapping[str, float | None]:
        """The storages of all skus, each with its own disk factor if it has one."""
        names = dict.fromkeys(name for sku in self.skus.values() for name in sku.storages)
        return {name: self.disk_factors.get(name) for name in names}

    @property
    def images_on_sale(self) -> Sequence[image_tables.Image]:
        """The images that tenants may choose."""
        listed = {name for sku in self.skus.values() for name in sku.images}
        return [image for name, image in self.images.items() if name in listed]

    def lowest_minute_usd(self) -> Fraction:
        """Return the lowest price that a renewal can have."""
        return min(
            sku.price_usd(sku.smallest, sku.runtime_minutes.least, with_base=False)
            for sku in self.skus.values()
        )


def _template_name(volume: str) -> str:
    """Return the tenants' name of a template: its file name without version and extension."""
    file = volume.rpartition("/")[2].rpartition(":")[2]
    return re.sub(r"_.*|\.tar.*", "", file) or "default"


def parse(text: str) -> Catalogue:
    """Read a catalogue from TOML; raises CatalogueError, which names the place of the mistake."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"not TOML: {error}") from error
    toml_values.refuse_unknown(
        "the catalogue", data, {"fees", "sku", "network", "storage", "image"}
    )
    fees = toml_values.table(data, "fees")
    toml_values.refuse_unknown("fees", fees, {"management_usd"})
    offered = _images(data)
    skus = {
        name: _sku(name, table, offered) for name, table in toml_values.table(data, "sku").items()
    }
    if not skus:
        raise CatalogueError("sku: needs at least one [sku.NAME]")
    fee = toml_values.usd("fees.management_usd", fees.get("management_usd", "0.001"))
    profiles, default = _networks(toml_values.table(data, "network"))
    for sku in skus.values():
        if sku.network is not None and sku.network not in {*profiles, OF_VARIABLES}:
            raise CatalogueError(f"sku.{sku.name}.network: there is no [network.{sku.network}]")
    return Catalogue(
        skus=_connected(skus, profiles, default),
        management_fee_usd=fee,
        networks=profiles,
        default_network=default,
        images=offered,
        disk_factors={
            name: _disk_factor(f"storage.{name}", table)
            for name, table in toml_values.table(data, "storage").items()
        },
    )


def _connected(
    skus: Mapping[str, Sku], profiles: Mapping[str, NetworkProfile], default: str
) -> dict[str, Sku]:
    """Return skus that know how many addresses their networks give; none by an unknown one."""
    given = {name: len(profile.known) for name, profile in profiles.items()}
    return {
        name: dataclasses.replace(sku, address_count=given.get(sku.network or default, 0))
        for name, sku in skus.items()
    }


def _images(data: dict[str, Any]) -> dict[str, image_tables.Image]:
    try:
        return image_tables.read(toml_values.table(data, "image"))
    except image_tables.ImageError as error:
        raise CatalogueError(str(error)) from error


def _disk_factor(where: str, table: Any) -> float:
    if not isinstance(table, dict):
        raise CatalogueError(f"{where}: must be a table")
    toml_values.refuse_unknown(where, table, {"disk_overcommit"})
    factor = table.get("disk_overcommit", 1.0)
    if type(factor) not in {int, float} or not 0 < factor <= _MOST_OVERCOMMIT:
        raise CatalogueError(
            f"{where}.disk_overcommit: must be a number above 0, at most {_MOST_OVERCOMMIT}"
        )
    return float(factor)


def _networks(tables: dict[str, Any]) -> tuple[dict[str, NetworkProfile], str]:
    """Return the profiles, and the name of the default one."""
    try:
        profiles = {name: network_tables.read(name, table) for name, table in tables.items()}
        marked = [name for name, table in tables.items() if network_tables.is_default(name, table)]
    except network_tables.NetworkError as error:
        raise CatalogueError(str(error)) from error
    if len(marked) > 1:
        raise CatalogueError(f"network: {' and '.join(marked)} are both marked as default")
    overlap = find_overlap(profiles)
    if overlap is not None:
        raise CatalogueError(f"network: {overlap}")
    return profiles, marked[0] if marked else OF_VARIABLES


_SKU_NAMES = {"description", "cores", "memory_mb", "disk_gb", "runtime_minutes"} | {
    "templates",
    "images",
    "nodes",
    "nesting",
    "network",
    "storages",
    "swap",
    "cpu_limit",
    "cpu_units",
    *price.NEEDED,
    *price.OPTIONAL,
}


def _sku(name: str, table: Any, offered: dict[str, image_tables.Image]) -> Sku:
    where = f"sku.{name}"
    if not isinstance(table, dict):
        raise CatalogueError(f"{where}: must be a table")
    toml_values.refuse_unknown(where, table, _SKU_NAMES)
    rates = {key: toml_values.usd(f"{where}.{key}", table.get(key)) for key in price.NEEDED}
    rates |= {key: toml_values.usd(f"{where}.{key}", table.get(key, "0")) for key in price.OPTIONAL}
    listed = _listed_images(where, table, offered)
    return Sku(
        name=name,
        description=str(table.get("description", "")),
        rates=price.Rates(**rates),
        cores=_bounds(where, table, "cores", _HARD_LIMITS["cores"]),
        memory_mb=_bounds(where, table, "memory_mb", _HARD_LIMITS["memory_mb"], least=16),
        disk_gb=_bounds(where, table, "disk_gb", _HARD_LIMITS["disk_gb"]),
        runtime_minutes=_bounds(where, table, "runtime_minutes", MAX_MINUTES),
        templates=_templates(where, table, listed),
        images=tuple(image.name for image in listed),
        nodes=_node_names(where, table),
        nesting=toml_values.switch(where, table, "nesting", default=True),
        swap=toml_values.factor(where, table, "swap", most=8) or Decimal(0),
        cpu_limit=toml_values.factor(where, table, "cpu_limit", most=1),
        cpu_units=_weight(where, table),
        network=_network_name(where, table),
        storages=_storages(where, table),
    )


def _listed_images(
    where: str, table: dict[str, Any], offered: dict[str, image_tables.Image]
) -> tuple[image_tables.Image, ...]:
    try:
        return image_tables.chosen(f"{where}.images", table.get("images", []), offered)
    except image_tables.ImageError as error:
        raise CatalogueError(str(error)) from error


def _templates(
    where: str, table: dict[str, Any], listed: Sequence[image_tables.Image]
) -> Mapping[str, str]:
    """Return the volumes by the names that tenants may use, the usual one first."""
    named = toml_values.table(table, "templates")
    if not all(isinstance(volume, str) for volume in named.values()):
        raise CatalogueError(f"{where}.templates: every template must be a volume id")
    for image in listed:
        if image.name in named:
            raise CatalogueError(f"{where}: {image.name!r} is both a template and an image")
    return {**named, **{image.name: image.template for image in listed}}


def _weight(where: str, table: dict[str, Any]) -> int | None:
    found = table.get("cpu_units")
    if found is not None and (type(found) is not int or not 1 <= found <= _MOST_WEIGHT):
        raise CatalogueError(f"{where}.cpu_units: must be a whole number from 1 to {_MOST_WEIGHT}")
    return found


def _storages(where: str, table: dict[str, Any]) -> tuple[str, ...]:
    found = table.get("storages", [])
    is_list = isinstance(found, list) and all(isinstance(name, str) for name in found)
    if not is_list or len(set(found)) < len(found) or len(found) > _MOST_STORAGES:
        raise CatalogueError(
            f"{where}.storages: must be a list of at most {_MOST_STORAGES} storages, each once"
        )
    return tuple(found)


def _network_name(where: str, table: dict[str, Any]) -> str | None:
    found = table.get("network")
    if found is not None and not isinstance(found, str):
        raise CatalogueError(f"{where}.network: must be the name of a network")
    return found


def _node_names(where: str, table: dict[str, Any]) -> frozenset[str]:
    nodes = table.get("nodes", [])
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
        raise CatalogueError(f"{where}.nodes: must be a list of node names")
    return frozenset(nodes)


def _bounds(where: str, table: dict[str, Any], key: str, most: int, *, least: int = 1) -> Bounds:
    found = table.get(key)
    if not isinstance(found, dict) or set(found) != {"min", "max"}:
        raise CatalogueError(f"{where}.{key}: must be {{ min = ..., max = ... }}")
    low, high = found["min"], found["max"]
    if type(low) is not int or type(high) is not int or not least <= low <= high <= most:
        raise CatalogueError(f"{where}.{key}: needs {least} <= min <= max <= {most}")
    return Bounds(least=low, most=high)
