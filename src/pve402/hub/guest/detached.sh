# Looks after detached programs. Arguments: spool directory, what to do, id, and more.
#   list [ID]            a line each: id state code started out err truncated timedout, and the
#                        seconds since the guest booted at its start and at its end, - if unknown
#   follow ID OUT ERR    their output from these offsets on, until the end
#   signal ID NAME       to the process groups; 7 if there is no such signal, 8 if none is left
#   stdin ID             passes our stdin on
#   close ID             ends its stdin
#   delete ID            kills it and forgets it
base=$1 what=$2 d=$1/$3 id=$3

booted() { read -r l </proc/1/stat; l=${l##*) }; set -- $l; echo "${20}"; }

state() {
  if [ -e "$1/exit" ]; then echo exited; return; fi
  read -r b _ <"$1/start"
  if [ "$b" = "$(booted)" ]; then
    for p in $(cat "$1/group"); do
      if kill -0 "-$p" 2>/dev/null; then echo running; return; fi
    done
    [ -s "$1/group" ] || { echo running; return; }
    # Between a program's end and the note of it, what runs it is still there.
    if kill -0 "$(cat "$1/runner")" 2>/dev/null; then echo running; return; fi
    if [ -e "$1/exit" ]; then echo exited; return; fi
  fi
  echo lost
}

size() { n=$(wc -c <"$1") && echo $((n)); }

line() {
  s=$(state "$1")
  c=- e=
  [ ! -e "$1/exit" ] || read -r c e <"$1/exit"
  read -r b t u <"$1/start"
  x=0 y=0
  [ ! -e "$1/truncated" ] || x=1
  [ ! -e "$1/timedout" ] || y=1
  echo "${1##*/} $s $c $t $(size "$1/out") $(size "$1/err") $x $y ${u:--} ${e:--}"
}

# What was written since offset $2 of file $1, up to its present end, which becomes $m.
since() {
  m=$(size "$1")
  [ "$m" -le "$2" ] || tail -c +$(($2 + 1)) "$1" | head -c $((m - $2))
}

follow() {
  o=$1 e=$2 last=
  while :; do
    since "$d/out" "$o"; moved=$((m - o)); o=$m
    since "$d/err" "$e" >&2; moved=$((moved + m - e)); e=$m
    [ "$moved" -eq 0 ] || continue
    [ -z "$last" ] || return
    if [ "$(state "$d")" != running ]; then last=1; fi
    sleep 0.2 2>/dev/null || sleep 1
  done
}

# A program that is only just starting has not told its group yet.
await_group() {
  n=0
  while [ ! -s "$d/group" ] && [ ! -e "$d/exit" ] && [ $n -lt 100 ]; do
    sleep 0.05 2>/dev/null || sleep 1
    n=$((n + 1))
  done
  [ -s "$d/group" ] || [ -e "$d/exit" ]
}

# Leaves in $n whether a group was signalled (0), is there and refuses the signal (7), or is gone.
groups() {
  await_group
  n=8
  for p in $(cat "$d/group"); do
    if kill "-$1" "-$p"; then n=0; elif [ $n -ne 0 ] && kill -0 "-$p"; then n=7; fi
  done
}

if [ "$what" = list ] && [ -z "$id" ]; then
  for d in "$base"/*; do [ ! -e "$d/start" ] || line "$d"; done
  exit 0
fi
[ -e "$d/start" ] || exit 6
case $what in
  list) line "$d" ;;
  follow) follow "$4" "$5" ;;
  signal) groups "$4"; exit $n ;;
  stdin) [ -p "$d/in" ] && [ -e "$d/keeper" ] || exit 5; cat 1<>"$d/in" ;;
  close)
    # Until the program has opened its stdin, what was written is only held by the keeper.
    [ -e "$d/keeper" ] && await_group || exit 5
    kill "$(cat "$d/keeper")"
    rm -f "$d/keeper"
    ;;
  delete)
    groups KILL 2>/dev/null
    for p in $(cat "$d/runner"); do kill -KILL "-$p" 2>/dev/null; done
    rm -rf "$d"
    ;;
esac
