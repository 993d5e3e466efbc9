"""The command: settings and catalogue are written first, then Proxmox VE is prepared by them."""

import asyncio
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

from pve402 import config
from pve402.bootstrap import guests as guest_building
from pve402.domain.catalogue import Catalogue, CatalogueError
from pve402.proxmox import errors as pve
from pve402.setup import answers, catalogue_text, commands, files, over_api, steps
from pve402.setup.operator import Cancelled, Operator

EXIT_FAILED = 1
EXIT_NOT_DONE = 2
_CATALOGUE = "PVE402_CATALOGUE"
_UNKNOWN_YET = "not-known-yet"
_PASTE = (
    "Paste these commands into a root shell on a node. What is there already they leave as it is,"
    " or correct; then they say that it exists.\n"
)
_CERTIFICATE = (
    "\nThe service must know the node's certificate. Compare what this prints on the node, and add"
    " it to {file} as PVE_FINGERPRINT=AB:CD:...:\n"
    "  openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem"
)
_NOT_ISOLATED = (
    "\nThe network {names} keeps containers neither from each other nor from your network. Before"
    " you sell to strangers, read docs/how-to/networking.md, or give --subnet."
)

_FIREWALL = (
    "\nNothing is sold from an isolated network until the datacenter's firewall is on. It filters"
    " the nodes as well, so first read docs/how-to/networking.md, `Before you switch it on`."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What the operator asked for; the rest is in the settings file, or answered."""

    arguments: Sequence[str] = ()
    env_file: Path = Path(".env")
    catalogue_file: Path | None = None
    nodes: Sequence[str] = ()
    subnet: catalogue_text.Subnet | None = None
    may_replace: bool = False
    over_api: bool = False


def run(asked: Asked, operator: Operator) -> int:
    """Do what was asked for, as a program of its own."""
    return asyncio.run(execute(asked, operator))


async def execute(asked: Asked, operator: Operator) -> int:
    """Write the files, then print the commands or make the changes; return the exit status."""
    try:
        if asked.over_api and not operator.can_answer:
            raise Cancelled("--run asks for a password, so it needs a terminal")
        settings = write_files(asked, operator)
        if asked.over_api:
            return await _make_changes(asked, settings, operator)
        _print_commands(asked, settings, operator)
    except pve.ProxmoxError as error:
        operator.tell(f"{error}\nRun it again when that is mended: what was made stays.")
        return EXIT_FAILED
    except (Cancelled, config.SettingsError, CatalogueError) as error:
        operator.tell(str(error))
        return EXIT_NOT_DONE
    except OSError as error:
        operator.tell(f"{error.filename or asked.env_file}: {error.strerror}")
        return EXIT_NOT_DONE
    return 0


def write_files(asked: Asked, operator: Operator) -> config.Settings:
    """Write catalogue and settings file, and return the settings as the service will read them.

    Raises Cancelled, SettingsError, CatalogueError or OSError.
    """
    kept = files.read_variables(asked.env_file)
    wanted = answers.complete(answers.parse(asked.arguments), kept, operator)
    known = {**kept, **wanted}
    if asked.subnet is not None or asked.catalogue_file is not None or _CATALOGUE not in known:
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


def keep_secret(env_file: Path, secret: str) -> None:
    """Write the token's secret into the settings file. Raises OSError, SettingsError."""
    _set_in_file(env_file, answers.SECRET, secret)


async def _make_changes(asked: Asked, settings: config.Settings, operator: Operator) -> int:
    """Make over the API what is missing; the fingerprint and the new secret go into the file."""
    fingerprint = await over_api.confirm_host(settings, operator)
    is_vouched_for = settings.pve_fingerprint or settings.pve_ca_file or not settings.pve_verify_ssl
    if fingerprint and not is_vouched_for:
        settings = _set_in_file(asked.env_file, "PVE_FINGERPRINT", fingerprint)
    work = over_api.Work(
        settings=settings,
        operator=operator,
        nodes=asked.nodes or ([settings.pve_node] if settings.pve_node else []),
        has_secret=settings.pve_token_secret.get_secret_value() != _UNKNOWN_YET,
        keep_secret=functools.partial(keep_secret, asked.env_file),
    )
    status = await over_api.prepare(work, fingerprint)
    _warn_of_networks(guest_building.catalogue_of(settings), operator)
    return status


def _set_in_file(env_file: Path, name: str, value: str) -> config.Settings:
    text = files.with_variables(env_file.read_text(), {name: value})
    settings = _checked(env_file, text)
    files.write(env_file, text)
    return settings


def _print_commands(asked: Asked, settings: config.Settings, operator: Operator) -> None:
    """Print what to paste on a node, and keep the secret that the operator pastes back."""
    sold = guest_building.catalogue_of(settings)
    wanted = list(steps.steps(settings, sold, _nodes(asked, settings, operator)))
    operator.tell(_PASTE)
    for line in commands.lines(wanted):
        operator.hand_out(line)
    _warn_of_networks(sold, operator)
    if not (settings.pve_ca_file or settings.pve_fingerprint) and settings.pve_verify_ssl:
        operator.tell(_CERTIFICATE.format(file=asked.env_file))
    if settings.pve_token_secret.get_secret_value() == _UNKNOWN_YET:
        _ask_for_secret(asked.env_file, operator)


def _ask_for_secret(env_file: Path, operator: Operator) -> None:
    secret = ""
    if operator.can_answer:
        question = "`value` that `pveum user token add` printed (empty: later)"
        secret = operator.ask_secret(question).strip()
    if secret:
        keep_secret(env_file, secret)
        operator.tell(f"{env_file} has the token's secret.")
    else:
        operator.tell(f"Then add {answers.SECRET}=... to {env_file}: the token's `value`.")


def _nodes(asked: Asked, settings: config.Settings, operator: Operator) -> Sequence[str]:
    """Return the nodes to prepare. Raises Cancelled if they are not known."""
    if asked.nodes or settings.pve_node:
        return asked.nodes or [settings.pve_node]
    if not operator.can_answer:
        raise Cancelled("say which nodes to prepare: --node pve, once for each")
    named = operator.ask("Nodes to prepare, with commas between them", "pve")
    return [name.strip() for name in named.split(",") if name.strip()]


def _write_catalogue(asked: Asked, known: dict[str, str], operator: Operator) -> Path:
    """Write a catalogue; an existing one stays unless a subnet was given. Return its path."""
    beside = asked.env_file.with_name("catalogue.toml")
    file = (asked.catalogue_file or Path(known.get(_CATALOGUE) or beside)).absolute()
    vlan = known.get("PVE_VLAN", "")
    text = catalogue_text.write(
        known.get("PVE_BRIDGE", "vmbr0"), int(vlan) if vlan.isdecimal() else None, asked.subnet
    )
    is_there = file.is_file()
    stays = is_there and (asked.subnet is None or file.read_text() == text)
    if is_there and not stays:
        _ask_to_replace(asked, f"Replace {file}", operator)
    if not stays:
        files.write(file, text)
    operator.tell(f"{file} {'stays as it is' if stays else 'is written'}.")
    return file


def _checked(env_file: Path, text: str) -> config.Settings:
    """Return the settings that a file of this text makes; the secret may be missing still."""
    draft = env_file.with_name(f".{env_file.name}.check")
    files.write(draft, text)
    try:
        return config.load(draft)
    except config.SettingsError as error:
        if set(error.problems) != {answers.SECRET}:
            raise
        return config.load(draft, pve_token_secret=_UNKNOWN_YET)
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


def _warn_of_networks(sold: Catalogue, operator: Operator) -> None:
    on_sale = sold.networks_on_sale.items()
    names = [name for name, one in on_sale if not one.is_isolated]
    if names:
        operator.tell(_NOT_ISOLATED.format(names=", ".join(names)))
    if len(names) < len(on_sale):
        operator.tell(_FIREWALL)
