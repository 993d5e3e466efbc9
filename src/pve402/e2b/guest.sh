# What E2B's agent does with files and processes of a container, for containers without one.
# Needs a POSIX shell, coreutils or busybox, and `find`. Arguments: what to do, then its own.
# Exit codes: 44 not there, 45 not a folder, 46 is a folder already, 47 no such user.
LC_ALL=C TZ=UTC0
export LC_ALL TZ
umask 022

# How many, a line of facts for each, their names and where links lead, ended by NUL each.
L='f="%f %s %U %G %y"
s=$(stat -c "$f" -- "$@" 2>/dev/null) || s=$(for p; do stat -c "$f" -- "$p" 2>/dev/null || echo -; done)
printf "%s\n%s\n" $# "$s"
for p; do
  printf "%s\0" "$p"
  if [ -L "$p" ]; then printf "%s\0" "$(readlink -f -- "$p") $(stat -Lc %f -- "$p" 2>/dev/null)"
  else printf "\0"; fi
done'

facts() { sh -c "$L" sh "$@"; }

there() { [ -e "$1" ] || [ -L "$1" ]; }

# Make a folder with those above it, which belong to $2 then.
folder() {
  top=$1
  [ -d "$top" ] && return
  while [ ! -e "$(dirname -- "$top")" ]; do top=$(dirname -- "$top"); done
  mkdir -p -- "$1" || exit 45
  chown -R -- "$2" "$top"
}

person() {
  while IFS=: read -r n _ u g _ h _; do
    [ "$n" != "$1" ] || { printf '%s:%s %s\n' "$u" "$g" "${h:-/}"; return; }
  done </etc/passwd
  exit 47
}

# Let the user become root without a password: by sudo, or else by what stands in for it ($1).
privileges() {
  if command -v sudo >/dev/null; then
    echo 'user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/user && chmod 440 /etc/sudoers.d/user
  elif setpriv --version | grep -q util-linux; then
    mkdir -p /usr/local/lib/pve402 /usr/local/bin
    cp "$(command -v setpriv)" /usr/local/lib/pve402/setpriv
    chown root:user /usr/local/lib/pve402/setpriv
    chmod 4750 /usr/local/lib/pve402/setpriv
    printf '%s' "$1" >/usr/local/bin/sudo && chmod 755 /usr/local/bin/sudo
  fi
}

act=$1
shift
case $act in
set-up)
  if ! grep -q '^user:' /etc/passwd; then
    useradd -U -m -s /bin/bash user || adduser -D -s /bin/bash user || exit 1
  fi >/dev/null
  chmod 755 /home/user
  privileges "$1" 2>/dev/null
  person user
  person root ;;
person) person "$1" ;;
stat)
  there "$1" || exit 44
  facts "$1" ;;
list)
  there "$1" || exit 44
  [ -d "$1" ] || exit 45
  find -H "$1" -mindepth 1 -maxdepth "$2" -exec sh -c "$L" sh {} + ;;
make)
  [ ! -d "$1" ] || exit 46
  ! there "$1" || exit 45
  folder "$1" "$2"
  facts "$1" ;;
move)
  there "$1" || exit 44
  folder "$(dirname -- "$2")" "$3"
  mv -fT -- "$1" "$2" || exit 45
  facts "$2" ;;
remove) rm -rf -- "$1" ;;
prepare)
  [ ! -d "$1" ] || exit 46
  folder "$(dirname -- "$1")" "$2" ;;
write)
  [ ! -d "$1" ] || exit 46
  folder "$(dirname -- "$1")" "$2"
  cat >"$1" && chown -- "$2" "$1" ;;
own) chown -- "$2" "$1" ;;
signal) kill "-$2" -- "-$1" || kill "-$2" "$1" ;;
resize) stty -F "$(readlink "/proc/$1/fd/0")" cols "$2" rows "$3" ;;
esac
