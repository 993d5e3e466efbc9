"""The script that gives a clone SSH host keys of its own.

Proxmox VE makes host keys when it unpacks a template (PVE/LXC/Setup.pm, rewrite_ssh_host_keys), and
a clone has those of its base; it only clears the machine id (post_clone_hook). So before anybody
gets a clone, each key is replaced by one of its type, once, and a server that runs reads them
again. A mark on the disk names the lease that this was done for: a copy of a clone has a mark too.
A type that ssh-keygen does not make any more is removed. Without a server nothing is done.
"""

from typing import Final

_SCRIPT: Final = r"""
set -- FOLDER/ssh_host_*_key
[ -e "$1" ] || exit 0
mark=FOLDER/.pve402-renewed
done_for=
if [ -r "$mark" ]; then read -r done_for <"$mark" || :; fi
if [ "$done_for" != LEASE ]; then
  command -v ssh-keygen >/dev/null || exit 4
  made=
  for key; do
    type=${key##*/ssh_host_}
    rm -f "$key.new" "$key.new.pub"
    if ssh-keygen -q -t "${type%_key}" -N '' -C '' -f "$key.new" </dev/null >/dev/null 2>&1; then
      mv "$key.new.pub" "$key.pub" && mv "$key.new" "$key" && made=1 || exit 5
    else
      rm -f "$key" "$key.pub"
    fi
  done
  [ -n "$made" ] || exit 5
  echo LEASE >"$mark"
fi
for file in PIDS/sshd.pid PIDS/sshd/sshd.pid; do
  if [ -r "$file" ]; then kill -HUP "$(cat "$file")" 2>/dev/null || :; fi
done
exit 0
"""


def renewal(lease_id: str, folder: str = "/etc/ssh", pids: str = "/run") -> str:
    """Return the script for the keys in a folder; exit code 4 without ssh-keygen, 5 if it fails.

    It may run twice: the keys are not replaced again.
    """
    return _SCRIPT.replace("LEASE", lease_id).replace("FOLDER", folder).replace("PIDS", pids)
