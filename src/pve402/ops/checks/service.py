"""Checks of the service itself: settings, the installation's name and its database."""

import asyncio
import os
import time
from pathlib import Path

from pve402 import bootstrap, config
from pve402.domain import causes, errors
from pve402.leases import instance_name
from pve402.ops.checks import findings
from pve402.ops.checks.findings import Finding
from pve402.storage import migrate

_CLOCKS_APART_SECONDS = 60


async def settings(parts: bootstrap.Components) -> list[Finding]:
    """Report settings that work but that the operator should know about."""
    chosen = parts.settings
    found = [_identity(parts)]
    if chosen.pve_token_id.startswith("root@pam!"):
        detail = "the token belongs to root@pam, which has every right"
        mend = "use a user with only the necessary rights, see docs/how-to/proxmox-rights.md"
        found.append(findings.note("PVE_TOKEN_ID", detail, mend=mend))
    if not chosen.pve_verify_ssl and chosen.pve_fingerprint is None:
        detail = "is off: anybody on the network path to Proxmox VE can read the token"
        mend = "use PVE_CA_FILE or PVE_FINGERPRINT instead"
        found.append(findings.note("PVE_VERIFY_SSL", detail, mend=mend))
    if chosen.trust_facilitator:
        detail = "is on: if the facilitator lies, the loss is yours"
        found.append(findings.note("TRUST_FACILITATOR", detail))
    if chosen.pve402_public_url is None:
        detail = f"is not set: tenants get {chosen.public_url}, which only this host can reach"
        found.append(findings.note("PVE402_PUBLIC_URL", detail))
    return found


def _identity(parts: bootstrap.Components) -> Finding:
    if config.is_key_kept(parts.settings):
        return findings.good("settings", f"instance {parts.lease_options.instance}")
    named = parts.settings.pve402_instance
    instance = f"instance {named}" if named else "instance named after the key; set PVE402_INSTANCE"
    return findings.good("settings", f"{instance}; the first start creates the secret key")


def unknown_variables(env_file: Path | None) -> list[Finding]:
    """Find variables in the environment and the file that look like settings but are not."""
    return [
        findings.note(
            name,
            "is not a setting and is ignored",
            mend=f"did you mean {nearest}?" if nearest else "remove it",
        )
        for name, nearest in config.unknown_variables(env_file).items()
    ]


async def database(parts: bootstrap.Components) -> list[Finding]:
    """Check that the database works and belongs to this installation."""
    file = config.sqlite_file(parts.settings)
    if file is not None and not file.exists():
        return [_new_file(file)]
    try:
        now = await parts.db.time()
        tables = await _tables(parts)
    except errors.DatabaseUnavailable as error:
        return [_unusable(error.__cause__ or error, file)]
    apart = abs(now.timestamp() - time.time())
    if apart > _CLOCKS_APART_SECONDS:
        detail = f"its clock differs from ours by {apart:.0f} s"
        return [findings.bad("database", detail, mend="synchronise both clocks (NTP)")]
    return [tables]


async def _tables(parts: bootstrap.Components) -> Finding:
    """Check whose tables are there, and of which version; raises what reading them raises."""
    if not await parts.db.has_tables():
        return findings.good("database", "answers; the first start creates its tables")
    revision, newest = await parts.db.revision(), migrate.newest_revision()
    if revision != newest:
        return _of_another_version(revision, newest)
    other = await instance_name.other(parts.db, parts.lease_options.instance)
    if other is not None:
        detail = f"it has containers marked with {other}"
        mend = f"set PVE402_INSTANCE={other}"
        return findings.bad("database", detail, variable="PVE402_INSTANCE", mend=mend)
    return findings.good("database", "answers")


def _of_another_version(revision: str, newest: str) -> Finding:
    if revision < newest:
        return findings.good("database", "answers; the next start upgrades its tables")
    detail = (
        f"a newer version of pve402 made its tables: they are at {revision}, ours end at {newest}"
    )
    mend = "start the newer version again, or restore the backup made before it"
    return findings.bad("database", detail, variable="DATABASE_URL", mend=mend)


def _new_file(file: Path) -> Finding:
    folder = file.parent
    if not folder.is_dir():
        mend = f"create it for the service's user: install -d -m 0700 {folder}"
        detail = f"there is no directory {folder}"
        return findings.bad("database", detail, variable="DATABASE_URL", mend=mend)
    if not os.access(folder, os.W_OK | os.X_OK):
        detail = f"this user may not write to {folder}"
        mend = f"run as the service's user, or make it the owner: chown pve402 {folder}"
        return findings.bad("database", detail, variable="DATABASE_URL", mend=mend)
    detail = f"the first start creates {file}; the service's user needs permission to do so"
    return findings.good("database", detail)


def _unusable(error: BaseException, file: Path | None) -> Finding:
    text = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if file is not None:
        detail = f"{file} cannot be used: {text}"
        mend = "check the file's owner and mode, or restore a backup"
        return findings.bad("database", detail, variable="DATABASE_URL", mend=mend)
    if isinstance(error, OSError | asyncio.TimeoutError):
        detail = f"cannot be reached: {causes.reason(error)}"
        mend = "check the host, the port, and that PostgreSQL listens there"
        return findings.bad("database", detail, variable="DATABASE_URL", mend=mend)
    mend = "check the user, password and database name; see docs/how-to/postgresql-and-replicas.md"
    return findings.bad("database", text, variable="DATABASE_URL", mend=mend)
