"""The command: settings and catalogue are written first, then Proxmox VE is prepared by them."""

import asyncio
import functools

from pve402 import config
from pve402.bootstrap import catalogue_file
from pve402.domain.catalogue import CatalogueError
from pve402.proxmox import errors as pve
from pve402.setup import configuration, network_choice, over_api, printed, switching
from pve402.setup.configuration import Asked
from pve402.setup.operator import Cancelled, Operator

EXIT_FAILED = switching.EXIT_FAILED
EXIT_NOT_DONE = switching.EXIT_NOT_DONE


def run(asked: Asked, operator: Operator) -> int:
    """Do what was asked for, as a program of its own."""
    return asyncio.run(execute(asked, operator))


async def execute(asked: Asked, operator: Operator, pace: switching.Pace | None = None) -> int:
    """Write the files, then print the commands or make the changes; return the exit status."""
    try:
        if asked.over_api:
            return await _make_changes(asked, operator, pace or switching.Pace())
        _print(asked, operator)
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


def _print(asked: Asked, operator: Operator) -> None:
    if asked.sdn or (asked.has_open_network() and operator.can_answer):
        taken = {one for held in printed.known_hosts(asked).values() for one in held}
        asked = network_choice.offered(asked, taken, operator)
    settings = configuration.write_files(asked, operator)
    printed.print_commands(asked, settings, operator)
    network_choice.warn(catalogue_file.catalogue_of(settings), operator)


async def _make_changes(asked: Asked, operator: Operator, pace: switching.Pace) -> int:
    """Make over the API what is missing; the fingerprint and the new secret go into the file."""
    if not operator.can_answer:
        raise Cancelled("--run asks for a password, so it needs a terminal")
    is_open = asked.has_open_network() or bool(asked.sdn)
    settings = configuration.write_files(asked, operator, with_catalogue=not is_open)
    fingerprint = await over_api.confirm_host(settings, operator)
    is_vouched_for = settings.pve_fingerprint or settings.pve_ca_file or not settings.pve_verify_ssl
    if fingerprint and not is_vouched_for:
        settings = configuration.set_in_file(asked.env_file, "PVE_FINGERPRINT", fingerprint)
    work = over_api.Work(
        asked=asked,
        settings=settings,
        operator=operator,
        pace=pace,
        has_secret=settings.pve_token_secret.get_secret_value() != configuration.UNKNOWN_YET,
        keep_secret=functools.partial(configuration.keep_secret, asked.env_file),
        chooses_network=is_open,
    )
    return await over_api.prepare(work, fingerprint)
