# The guest's side of the hub: runs commands and answers in frames on the terminal.
#
# Sent through the terminal by `program.py`, without these comments, behind a line that
# sets K, the nonce of the session. Works in bash, dash and busybox ash.
#
# In:  K TOKEN BODY TOKEN          one line; TOKEN is SEQUENCE.LENGTH, and BODY is shell text of
#                                  that length, which calls the functions below
# Out: ESC _ K TYPE FIELDS ESC \   never with a newline; each written in one write(), so
#                                  that frames of many processes do not mix
#   H version encoding tools directory  we are there       A sequence channel=code...  consumed
#   R sequence / S sequence             line damaged / not ours, send again from here
#   o|e channel number length data      a piece of output
#   X channel sequence code o e         ended, with the numbers of pieces
#   I channel count / B channel         stdin lines passed on / nobody reads stdin
#   G channel count                     process groups that were signalled
#   Z channel                           given up: nothing more comes on this channel
#   F what                              the guest lacks something we need
# The words of a program come with its call, or before it in its slot's file: SLOT.a is then a
# script that makes them the positional parameters.
# bash reads ahead from a terminal and hands what it read to any other `read`, so files are
# sourced or passed through cat, and `read` serves the terminal and the stdin pipes alone.
# A channel is SLOT.GENERATION; files of a slot are reused, late frames are told apart.
# Tenants' programs get the guest's own locale, and the usual umask; both differ here.
L=${LC_ALL-}
unset LC_ALL
LC_ALL=C
N='
'
exec 2>/dev/null
umask 077
Z=49152
W=262144
Q=0

say() { printf '\033_%s %s\033\\' "$K" "$1"; }

# A built-in printf splits what is longer than its buffer; dd gathers it into one write.
say_piece() {
  if [ ${#1} -lt 900 ]; then say "$1"; else say "$1" | dd ibs=4096 obs=262144; fi
}

# Output waits, and the program with it, once W bytes of it are unread; `c` raises the limit m.
pump() {
  q=0 u=0 m=$W
  exec 7<>"$D/$s.$2c"
  while x=$(dd bs=$Z count=1 | $E) && [ "$x" ]; do
    say_piece "$2 $1 $q ${#x} $x"
    q=$((q + 1)) u=$((u + ${#x}))
    while [ $u -ge $m ] && read -r m <&7; do :; done
    if [ -e "$D/$s.t" ]; then cat >/dev/null; break; fi
  done
  echo "$2=$q" >"$D/$s.$2"
}

# What of this shell a program would inherit.
ours_off() {
  umask 022
  [ -z "$L" ] || export LC_ALL="$L"
}

# Descriptor 8 takes the process group; the command keeps no other descriptor of ours. In a
# subshell of its own, because a shell tells of a killed child on the stderr the child had.
run() {
  ours_off
  (exec $S sh -c "$@" 2>&4 4>&- 8>"$D/$s.p" <"$i")
  echo "x=$? y=$c" >"$D/$s.x"
}

job() {
  c=$1 s=${1%.*} i=$2 f= x=255 o=0 e=0
  shift 2
  [ $# -gt 0 ] || . "$D/$s.a"
  if [ "$i" != /dev/null ]; then feed 5<&9 & f=$!; exec 9>&-; fi
  { { run "$@" 3>&- | pump "$c" o >&3 4>&-; } 4>&1 | pump "$c" e >&3; } 3>&1
  for l in x o e; do . "$D/$s.$l"; done
  say "X $c $Q $x $o $e"
  [ -z "$f" ] || kill $f
  : >"$D/$s.j"
}

# Each line is a printf format, so that stdin costs no process. `e` closes.
feed() {
  trap '' PIPE
  exec 9>&- 6>"$D/$s.i"
  n=0
  while IFS= read -r l <&5; do
    [ "$l" != e ] || break
    printf "${l#d}" >&6 || { say "B $c"; break; }
    n=$((n + 1))
    say "I $c $n"
  done
}

# The pseudo terminal is made by whatever the guest has; its output goes out as it is.
console() {
  c=$1 s=${1%.*} i=$D/${1%.*}.i
  shift
  [ $# -gt 0 ] || . "$D/$s.a"
  feed 5<&9 & f=$!
  exec 9>&-
  (ours_off; eval "$1" <"$i")
  say "X $c $Q $? 0 0"
  kill $f
  : >"$D/$s.j"
}

# Job control gives each job a process group of its own and leaves SIGINT alone.
start() {
  s=${2%.*}
  eval "C$s=$2"
  eval "[ -z \"\$J$s\" ] || wait \$J$s"
  for l in x o e p; do : >"$D/$s.$l"; done
  [ -p "$D/$s.oc" ] || mkfifo "$D/$s.oc" "$D/$s.ec"
  [ ! -e "$D/$s.t" ] || rm -f "$D/$s.t"
  echo 1 >"$D/$s.j"
  set -m
  "$@" </dev/null &
  eval "J$s=$!"
  set +m
}

x() { start job "$@"; }
xi() { c=$1; fifos "${1%.*}"; shift; start job "$c" "$D/${c%.*}.i" "$@"; exec 9>&-; }
# The program leaves the name of its terminal in the file PVE402_Y.y, for `w`.
xy() { export PVE402_Y="$D/${1%.*}"; xi "$@"; unset PVE402_Y; }
xc() { fifos "${1%.*}"; start console "$@"; exec 9>&-; }
# Held open from before the fork: what is written before the reader runs is kept.
fifos() { [ -p "$D/$1.i" ] || mkfifo "$D/$1.i" "$D/$1.f"; exec 9<>"$D/$1.f"; }
i() { printf '%s\n' "$2" 1<>"$D/$1.f"; }
ours() { eval "[ \"\$C${1%.*}\" = \"$1\" ]"; }
k() {
  n=0
  ! ours "$1" || signal "${1%.*}" "$2"
  say "G $1 $n"
}
# The one form of kill that all shells understand.
signal() {
  for p in $(cat "$D/$1.p"); do
    case $p in *[!0-9]*) ;; *) kill "-$2" "-$p" && n=$((n + 1)) ;; esac
  done
}
z() { ! ours "$1" || end "${1%.*}"; say "Z $1"; }
end() {
  [ ! -s "$D/$1.j" ] || eval "kill -KILL -\$J$1"
  : >"$D/$1.j"
}
c() { ! ours "$1" || echo "$3" 1<>"$D/${1%.*}.$2c"; }
t() { ! ours "$1" || { : >"$D/${1%.*}.t"; c "$1" o $((1 << 60)); c "$1" e $((1 << 60)); }; }
a() { say "A $Q"; }
d() { printf "$2" >>"$D/$1.a"; }
w() { p=$(cat "$D/${1%.*}.y") && stty rows "$2" cols "$3" <"$p"; }
h() {
  r=
  for f in "$D"/*.x; do
    [ ! -s "$f" ] || { . "$f"; r="$r $y=$x"; }
  done
  say "A $Q$r"
}

quit() {
  trap '' HUP TERM
  for f in "$D"/*.j; do
    [ ! -s "$f" ] || { f=${f##*/}; signal "${f%.j}" KILL; end "${f%.j}"; }
  done
  rm -rf "$D"
  stty sane
  exit
}

encoding() {
  T=base64
  if [ "$(printf A | base64 -w0)" = QQ== ]; then E='base64 -w0'; return; fi
  if [ "$(printf A | base64)" = QQ== ]; then E="eval base64|tr -d '\\n'"; return; fi
  T=hex
  if [ "$(printf A | od -An -v -tx1 | tr -d ' \n')" = 41 ]; then E="eval od -An -v -tx1|tr -d ' \\n'"
  elif [ "$(printf A | hexdump -ve '1/1 "%02x"')" = 41 ]; then E="eval hexdump -ve '1/1 \"%02x\"'"
  else say 'F encoder'; quit
  fi
}

workplace() {
  for B in /run /dev/shm /tmp /var/tmp /dev; do
    rm -rf "$B"/.pve402-s-*
    D=$B/.pve402-s-$K
    if mkdir "$D" && echo t=1 >"$D/t" && . "$D/t"; then return; fi
  done
  say 'F workplace'
  quit
}

tools() {
  r=
  for x in script python3 perl sha256sum setsid su gzip; do
    ! command -v $x >/dev/null || r="$r,$x"
  done
  case $r in *setsid*) S=setsid ;; *) S= ;; esac
}

export HOME="${HOME:-/root}" PATH="${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
export LANG="${LANG:-C.UTF-8}" USER=root LOGNAME=root SHELL="${SHELL:-/bin/sh}"
cd "$HOME" || cd /
unset OLDPWD
trap quit HUP TERM
encoding
workplace
tools
say "H 1 $T $B$r"
# What is lost may join the head of one line to the tail of another; they never hold one token.
while IFS= read -r l; do
  case $l in
    "$K "*) ;;
    *pve402-quit) quit ;;
    '') continue ;;
    *) say "S $Q"; continue ;;
  esac
  l=${l#* } q=${l%% *}
  l=${l#* } b=${l%" $q"}
  if [ "$q" = "$Q.${#b}" ] && [ "$b" != "$l" ]; then Q=$((Q + 1)); eval "$b"; else say "R $Q"; fi
done
quit
