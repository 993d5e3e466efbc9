"""Log in with Paramiko, by the lines of an ssh_config, and use a command and sftp.

usage: python by_paramiko.py CONFIG NAME
"""

import os
import sys

import paramiko

DATA = os.urandom(200_000)


def way_to(config: paramiko.SSHConfig, name: str) -> paramiko.ProxyCommand | paramiko.Channel:
    """Open the way that the configuration says: a command, or a jump host."""
    found = config.lookup(name)
    if "proxycommand" in found:
        return paramiko.ProxyCommand(found["proxycommand"])
    user, _, address = found["proxyjump"].partition("@")
    host, _, port = address.partition(":")
    jump = client(found)
    jump.connect(host, int(port), user, key_filename=found["identityfile"], **QUIET)
    return jump.get_transport().open_channel("direct-tcpip", (found["hostname"], 22), ("", 0))


def client(found: paramiko.SSHConfigDict) -> paramiko.SSHClient:
    """A client that knows the hosts of the configuration, and no others."""
    made = paramiko.SSHClient()
    made.load_host_keys(found["userknownhostsfile"].strip('"'))
    made.set_missing_host_key_policy(paramiko.RejectPolicy())
    return made


QUIET = {"allow_agent": False, "look_for_keys": False}
config = paramiko.SSHConfig.from_path(sys.argv[1])
found = config.lookup(sys.argv[2])
guest = client(found)
identities = [name.strip('"') for name in found["identityfile"]]
guest.connect(
    found.get("hostkeyalias", found["hostname"]),
    username="root",
    key_filename=identities,
    sock=way_to(config, sys.argv[2]),
    **QUIET,
)
stdin, stdout, _ = guest.exec_command("cat; exit 3")
stdin.write(DATA)
stdin.channel.shutdown_write()
assert stdout.read() == DATA
assert stdout.channel.recv_exit_status() == 3
with guest.open_sftp() as sftp:
    with sftp.open("/tmp/by-paramiko", "wb") as file:
        file.write(DATA)
    with sftp.open("/tmp/by-paramiko", "rb") as file:
        assert file.read() == DATA
print("all of it happened")
