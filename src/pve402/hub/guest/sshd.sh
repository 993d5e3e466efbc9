# Serves one SSH connection on its stdin and stdout, with the guest's own sshd. Ends with 127 and a
# sentence on stderr if there is none. Argument: `serve`, or `host-keys` to print the public ones.
what=$1
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
d=/run
[ -d "$d" ] && [ -w "$d" ] || d=/tmp
own=$d/pve402-ssh

missing() {
  echo "pve402: this container has no $1; add it with \`apt-get install openssh-server\` (Debian," \
    "Ubuntu), \`apk add openssh\` (Alpine) or \`dnf install openssh-server\` (Fedora);" \
    "shell, exec and cp work without it" >&2
  exit 127
}

# The guest's own host keys; if its sshd has never run, one that we make for this boot.
host_keys() {
  set -- /etc/ssh/ssh_host_*_key
  if [ ! -s "$1" ]; then
    set -- "$own/host_key"
    mkdir -p "$own"
    chmod 700 "$own"
    # Two connections may come at once: the first link wins.
    if [ ! -s "$1" ]; then
      ssh-keygen -q -t ed25519 -N '' -C '' -f "$own/new.$$" >/dev/null || missing 'ssh-keygen'
      ln "$own/new.$$.pub" "$1.pub" 2>/dev/null
      ln "$own/new.$$" "$1" 2>/dev/null
      rm -f "$own/new.$$" "$own/new.$$.pub"
    fi
  fi
  keys=$(printf '%s\n' "$@")
}

sshd=$(command -v sshd) || missing sshd
host_keys
if [ "$what" = host-keys ]; then
  # The public half is computed: what lies beside the key may be of another one.
  for k in $keys; do ssh-keygen -y -f "$k" 2>/dev/null; done
  exit 0
fi
grep -q '^sshd:' /etc/passwd || {
  echo 'pve402: this container has an sshd but no user named sshd; install the whole package' >&2
  exit 127
}
mkdir -p /run/sshd
chmod 755 /run/sshd
pam=no
[ ! -e /etc/pam.d/sshd ] || pam=yes
# Without PAM, sshd lets nobody in whose account is locked, and says so to nobody.
if [ "$pam" = no ] && grep -q '^root:!' /etc/shadow 2>/dev/null; then
  echo "pve402: root is locked in this container, so its sshd takes no key; this unlocks it:" \
    "sed -i 's/^root:!/root:*/' /etc/shadow" >&2
  exit 127
fi
set --
for k in $keys; do set -- "$@" -o "HostKey=$k"; done
# A file of the tenant's cannot break this way in: who comes here may change it anyway.
exec "$sshd" -i -e -f /dev/null "$@" -o LogLevel=ERROR -o PidFile=none -o "UsePAM=$pam" \
  -o KbdInteractiveAuthentication=no -o PrintMotd=no -o X11Forwarding=yes \
  -o 'AcceptEnv=LANG LC_*' -o 'Subsystem=sftp internal-sftp'
