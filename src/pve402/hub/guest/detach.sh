# Starts a detached program: prints `ok` once it is taken over, then keeps its output.
# Arguments: spool directory, id, bytes kept per stream, seconds (0: no limit),
# how many there may be, stdin (none, given, open), and behind them those of `sh -c`.
base=$1 d=$1/$2 limit=$3 seconds=$4 most=$5 stdin=$6
shift 6
umask 077

# When the guest booted: its first process's start time, in the 22nd field of its stat.
booted() { read -r l </proc/1/stat; l=${l##*) }; set -- $l; echo "${20}"; }

# Seconds since then, in hundredths.
up() { read -r l _ </proc/uptime; echo "$l"; }

spool() {
  n=0
  while [ $n -lt "$limit" ]; do
    b=$((limit - n))
    [ $b -le 65536 ] || b=65536
    dd bs=$b count=1 2>/dev/null >>"$1"
    m=$(wc -c <"$1")
    [ "$m" -gt $n ] || return
    n=$m
  done
  [ "$(dd bs=1 count=1 2>/dev/null | wc -c)" -eq 0 ] || : >"$d/truncated"
  tail -c 32768 >"$1.last"
}

enforce_time_limit() {
  n=0
  while [ ! -e "$d/exit" ] && [ $n -lt "$seconds" ]; do sleep 1; n=$((n + 1)); done
  [ ! -e "$d/exit" ] || return
  : >"$d/timedout"
  for s in TERM KILL; do
    for p in $(cat "$d/group"); do kill -$s "-$p"; done
    n=0
    while [ ! -e "$d/exit" ] && [ $n -lt 5 ]; do sleep 1; n=$((n + 1)); done
  done
}

mkdir -p "$base" || exit 3
set -- "$base"/* -- "$@"
n=0
while [ "$1" != -- ]; do [ ! -d "$1" ] || n=$((n + 1)); shift; done
shift
[ $n -lt "$most" ] || exit 4
mkdir "$d" || exit 3
: >"$d/out"; : >"$d/err"; : >"$d/group"
echo "$(booted) $(date +%s) $(up)" >"$d/start" || exit 3
echo $$ >"$d/runner"
i=/dev/null
case $stdin in
  given) i=$d/in; cat >"$i" || exit 3 ;;
  open)
    i=$d/in
    mkfifo "$i" || exit 3
    # From before the first word of it is told, somebody holds what is written until it is read.
    exec 7<>"$i"
    sleep 2147483647 >/dev/null 2>&1 </dev/null &
    echo $! >"$d/keeper"
    exec 7<&-
    ;;
esac
echo ok
exec >/dev/null 2>&1 </dev/null
[ "$seconds" -eq 0 ] || enforce_time_limit &
{
  {
    # A shell tells of a killed child on the stderr the child had, hence the subshell.
    (umask 022; exec setsid sh -c "$@" 2>&4 4>&- 8>"$d/group" <"$i")
    c=$?
    echo "$c $(up)" >"$d/exit.new"
    mv "$d/exit.new" "$d/exit"
  } | spool "$d/out" 4>&-
} 4>&1 | spool "$d/err"
[ ! -e "$d/keeper" ] || { kill "$(cat "$d/keeper")"; rm -f "$d/keeper"; }
