# usage: resolve NAME | own | send SECONDS SOURCE PROBE...
#   resolve  the addresses of a name, one per line
#   own      what the kernel says of our own addresses
#   send     a line for each probe: its number, and arrived, silent or unsent with the reason
# A probe is "tcp HOST PORT", "ping HOST -" or "arp HOST -", and names a router or `-` last. SOURCE is
# what they are to be sent from although it is not ours: an address, or card=HARDWARE-ADDRESS; or `-`.

LC_ALL=C
export LC_ALL
has() { command -v "$1" >/dev/null 2>&1; }
within() {
  if has timeout; then timeout "$@"; else shift; "$@"; fi
}
unsent() { printf 'unsent %.80s\n' "$(printf '%s' "$1" | tail -n 1 | tr -d '\r')"; }
judge() {
  case $1 in 0) echo arrived; return ;; 124 | 137 | 143) echo silent; return ;; esac
  case $2 in
    *efused*) echo arrived ;;
    *ermitted* | *enied* | *"etwork unreachable"* | *"etwork is unreachable"*) unsent "$2" ;;
    *"imed out"* | *"o route to host"* | *"ost is unreachable"* | *" 100% packet loss"*) echo silent ;;
    *) unsent "$2" ;;
  esac
}
dial() {
  if has bash && has timeout; then
    timeout "$seconds" bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>&1
  elif has python3; then
    python3 -c 'import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))' "$1" "$2" "$seconds" 2>&1
  elif has nc; then
    case $(nc -h 2>&1) in
      *"-e PROG"*) nc -w "$seconds" "$1" "$2" -e true 2>&1 ;;
      *) nc -z -w "$seconds" "$1" "$2" 2>&1 ;;
    esac
  else
    echo "no bash, python3 or nc"
    return 127
  fi
}
echo_once() {
  has ping || { echo "no ping"; return 127; }
  ping -c 1 -W "$seconds" "$1" 2>&1
}
ask_arp() {
  ip neigh flush to "$1" dev "$card" 2>&1 || return 1
  said=$(echo_once "$1") || case $said in *ermitted* | "no ping") echo "$said"; return 1 ;; esac
  case $(ip neigh show to "$1" dev "$card" 2>&1) in
    *REACHABLE*) return 0 ;;  # by an answer to our own question; others only make it known
    *) return 124 ;;
  esac
}
probe() {
  case $1 in
    tcp) said=$(dial "$2" "$3") ;;
    arp) said=$(ask_arp "$2") ;;
    *) said=$(echo_once "$2") ;;
  esac
  judge "$?" "$said"
}
pretend() {
  for each in "$@"; do
    set -- $each
    via=
    [ "$4" = - ] || [ "$4" = "$2" ] || via="via $4"
    ip route replace "$2" $via dev "$card" src "$source" 2>&1 || return 1
  done
}
stop_pretending() {
  for each in "$@"; do
    set -- $each
    ip route del "$2" dev "$card" src "$source" 2>/dev/null
  done
  ip addr del "$source" dev "$card" 2>/dev/null
}
send() {
  has ip || [ "$source" = - ] || { refuse "no ip command" "$@"; return; }
  card=$(ip route get "$(set -- $1; echo "$2")" 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p;q')
  ip neigh flush dev "$card" 2>/dev/null  # one of them may have been in disguise
  case $source in -) all "$@"; return ;; esac
  case $source in card=*) send_as_card "$@"; return ;; esac
  why=$(ip addr add "$source" dev "$card" 2>&1 && pretend "$@") || { stop_pretending "$@"; refuse "$why" "$@"; return; }
  all "$@"
  stop_pretending "$@"
}
send_as_card() {
  own=$(ip link show dev "$card" 2>/dev/null | sed -n 's/.*link\/ether \([^ ]*\).*/\1/p')
  [ -n "$own" ] || { refuse "its card has no hardware address" "$@"; return; }
  why=$(ip link set dev "$card" address "${source#card=}" 2>&1) || { refuse "$why" "$@"; return; }
  ip neigh flush dev "$card" 2>/dev/null
  all "$@"
  ip link set dev "$card" address "$own"
  for each in 1 2 3; do  # a neighbour believes in another card only after a second
    ip neigh flush dev "$card" 2>/dev/null
    ping -c 1 -W 1 "$(set -- $1; echo "$2")" >/dev/null 2>&1 && return
  done
}
all() {
  number=0
  for each in "$@"; do
    case $each in arp\ *) ;; *) (result=$(probe $each); echo "$number $result") & ;; esac
    number=$((number + 1))
  done
  wait
  number=0
  for each in "$@"; do  # alone, since it has the guest forget its neighbours
    case $each in arp\ *) echo "$number $(probe $each)" ;; esac
    number=$((number + 1))
  done
}
refuse() {
  why=$1
  shift
  number=0
  for each in "$@"; do
    printf '%s unsent %.80s\n' "$number" "$why"
    number=$((number + 1))
  done
}
resolve() {
  if has getent; then
    within 8 getent ahosts "$1" | while read -r address rest; do echo "$address"; done
  elif has nslookup; then
    within 8 nslookup "$1" | sed -n '/^Name:/,$s/^Address[^:]*: *\([^ ]*\).*/\1/p'
  elif has python3; then
    within 8 python3 -c 'import socket, sys
for found in socket.getaddrinfo(sys.argv[1], None): print(found[4][0])' "$1"
  else
    echo "no getent, nslookup or python3" >&2
    return 127
  fi
}
act=$1
shift
case $act in
  own) cat /proc/net/fib_trie /proc/net/if_inet6 2>/dev/null || : ;;
  resolve) resolve "$1" ;;
  send)
    seconds=$1 source=$2
    shift 2
    send "$@"
    ;;
esac
