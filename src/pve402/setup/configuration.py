"""What the operator asked for, and the two files that come of it: settings and catalogue."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from pve402 import config
from pve402.setup import answers, catalogue_text, files
from pve402.setup.firewalling import Ways
from pve402.setup.operator import Cancelled, Operator

UNKNOWN_YET = "not-known-yet"
_CATALOGUE = "PVE402_CATALOGUE"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What the operator asked for; the rest is in the settings file, or answered.

    `nodes` are names, each with `=` and its addresses where they are needed and cannot be read.
    `sdn` says whether containers get an SDN network of their own; None leaves that open.
    """

    arguments: Sequence[str] = ()
    env_file: Path = Path(".env")
    catalogue_file: Path | None = None
    nodes: Sequence[str] = ()
    subnet: catalogue_text.Subnet | None = None
    sdn: bool | None = None
    ways: Ways = dataclasses.field(default_factory=Ways)
    may_replace: bool = False
    over_api: bool = False

    @property
    def node_addresses(self) -> Mapping[str, str]:
        """The nodes and what was said of their addresses, with commas between them."""
        return {name: rest for name, _, rest in (one.partition("=") for one in self.nodes)}

    def has_open_network(self) -> bool:
        """Return whether nothing says yet how containers are connected."""
        kept = files.read_variables(self.env_file)
        given = {**kept, **answers.parse(self.arguments)}
        is_said = self.subnet or given.get("PVE_VLAN") or given.get(_CATALOGUE)
        return self.sdn is None and not is_said and not _catalogue_file(self, given).is_file()


def write_files(
    asked: Asked, operator: Operator, *, with_catalogue: bool = True
) -> config.Settings:
    """Write catalogue and settings file, and return the settings as the service will read them.

    The catalogue may wait for `write_catalogue` until its network is known. Raises Cancelled,
    SettingsError, CatalogueError or OSError.
    """
    kept = files.read_variables(asked.env_file)
    wanted = answers.complete(answers.parse(asked.arguments), kept, operator)
    known = {**kept, **wanted}
    if with_catalogue and (asked.subnet or asked.catalogue_file or _CATALOGUE not in known):
        wanted[_CATALOGUE] = str(_write_catalogue(asked, known, operator))
    before = asked.env_file.read_text() if asked.env_file.is_file() else ""
    text = files.with_variables(before, wanted)
    settings = _checked(asked.env_file, text)
    changed = files.changed_names(kept, wanted)
    if changed and before.strip():
        _ask_to_replace(asked, f"Change {', '.join(changed)} in {asked.env_file}", operator)
    if changed:
        files.write(asked.env_file, text)
    operator.tell(f"{asked.env_file} {'is written' if changed else 'stays as it is'}.")
    return settings


def write_catalogue(asked: Asked, operator: Operator) -> config.Settings:
    """Write the catalogue, name it in the settings file, and return the settings.

    Raises like `write_files`.
    """
    file = _write_catalogue(asked, files.read_variables(asked.env_file), operator)
    return set_in_file(asked.env_file, _CATALOGUE, str(file))


def keep_secret(env_file: Path, secret: str) -> None:
    """Write the token's secret into the settings file. Raises OSError, SettingsError."""
    set_in_file(env_file, answers.SECRET, secret)


def set_in_file(env_file: Path, name: str, value: str) -> config.Settings:
    """Set one variable in the settings file, and return the settings. Raises like `keep_secret`."""
    text = files.with_variables(env_file.read_text(), {name: value})
    settings = _checked(env_file, text)
    files.write(env_file, text)
    return settings


def _catalogue_file(asked: Asked, known: Mapping[str, str]) -> Path:
    beside = asked.env_file.with_name("catalogue.toml")
    return (asked.catalogue_file or Path(known.get(_CATALOGUE) or beside)).absolute()


def _write_catalogue(asked: Asked, known: Mapping[str, str], operator: Operator) -> Path:
    """Write a catalogue; an existing one stays unless a subnet was given. Return its path."""
    file = _catalogue_file(asked, known)
    text = catalogue_text.write(_link(asked, known), asked.subnet)
    is_there = file.is_file()
    stays = is_there and (asked.subnet is None or file.read_text() == text)
    if is_there and not stays:
        _ask_to_replace(asked, f"Replace {file}", operator)
    if not stays:
        files.write(file, text)
    operator.tell(f"{file} {'stays as it is' if stays else 'is written'}.")
    return file


def _link(asked: Asked, known: Mapping[str, str]) -> catalogue_text.Link:
    if asked.sdn:
        return catalogue_text.OF_SDN
    vlan = known.get("PVE_VLAN", "")
    return catalogue_text.Link(
        bridge=known.get("PVE_BRIDGE", "vmbr0"), vlan=int(vlan) if vlan.isdecimal() else None
    )


def _checked(env_file: Path, text: str) -> config.Settings:
    """Return the settings that a file of this text makes; the secret may be missing still."""
    draft = env_file.with_name(f".{env_file.name}.check")
    files.write(draft, text)
    try:
        return config.load(draft)
    except config.SettingsError as error:
        if set(error.problems) != {answers.SECRET}:
            raise
        return config.load(draft, pve_token_secret=UNKNOWN_YET)
    finally:
        draft.unlink(missing_ok=True)


def _ask_to_replace(asked: Asked, what: str, operator: Operator) -> None:
    """Raise Cancelled unless the operator agrees."""
    if asked.may_replace:
        return
    if not operator.can_answer:
        raise Cancelled(f"{what}? Nothing was changed; --yes says that you agree.")
    if not operator.agrees(f"{what}?"):
        raise Cancelled("Nothing was changed.")
