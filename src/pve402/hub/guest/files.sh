# Reads and writes files. Arguments: what to do, path, and more.
#   look PATH SUM              size, octal mode, and with SUM=1 a SHA-256 of so many bytes, or -
#   read PATH SKIP COUNT       COUNT blocks of 64 KiB from block SKIP on
#   write PATH NAME            takes stdin into NAME beside the file; its size and SHA-256 or -
#   pull PATH NAME URL         fetches that into NAME, with whatever the guest has; else 24
#   keep PATH NAME MODE        puts that in the file's place; prints the octal mode or -
#   drop PATH NAME
# A link stands for the file it leads to. A file that is there keeps its owner and, where MODE
# is -, its mode. Exit codes: 20 missing, 21 not a file, 22 refused, 23 its directory is missing.
what=$1 path=$2
N='
'

# The first $2 bytes of a file: it may be growing.
sum() {
  if command -v sha256sum >/dev/null; then
    s=$(head -c "$2" <"$1" | sha256sum)
    echo "${s%% *}"
  else
    echo -
  fi
}

follow_links() {
  n=0
  while [ -L "$path" ]; do
    n=$((n + 1))
    t=$(readlink "$path" && echo .) && [ $n -lt 40 ] || exit 22
    t=${t%"$N".}
    case $t in /*) path=$t ;; *) path=${path%/*}/$t ;; esac
  done
}

# Over a file that is there: by a new one of the same owner and mode, or, where it has other
# names or its owner cannot be given, by writing into it.
replace() {
  f=$(stat -c '%h %u:%g %a' -- "$path") || f=
  o=${f#* }
  if [ "${f%% *}" = 1 ] && chown "${o% *}" "$new" && chmod "${o#* }" "$new"; then
    mv -f -- "$new" "$path"
  else
    cat "$new" >"$path" && rm -f -- "$new"
  fi
}

mode() { stat -c %a -- "$path" || echo -; }

keep() {
  if [ -f "$path" ]; then replace; else chmod 644 "$new" && mv -f -- "$new" "$path"; fi &&
    { [ "$1" = - ] || chmod "$1" "$path"; }
}

# Gives up after a few seconds if nothing answers; a second program would not be answered either.
fetch() {
  began=$(date +%s)
  for x in curl wget python3 perl; do
    command -v $x >/dev/null || continue
    fetch_by_$x "$1" >"$new" && return
    [ $(($(date +%s) - began)) -lt 3 ] || return 1
  done
  return 1
}
fetch_by_curl() { curl -sf --connect-timeout 4 "$1"; }
fetch_by_wget() {
  case $(wget --version 2>&1) in
    *GNU*) wget -q -O - --connect-timeout=4 --tries=1 "$1" ;;
    *) fetch_by_busybox "$1" ;;
  esac
}
# Some builds of busybox crash with a time limit of their own.
fetch_by_busybox() {
  wget -q -O - "$1" & w=$!
  (sleep 5; [ -s "$new" ] || kill $w) & k=$!
  wait $w
  r=$?
  kill $k
  return $r
}
fetch_by_python3() {
  python3 -c 'import shutil, sys, urllib.request
shutil.copyfileobj(urllib.request.urlopen(sys.argv[1], timeout=10), sys.stdout.buffer)' "$1"
}
# Without TLS, which the smallest perl does not have.
fetch_by_perl() {
  perl -e 'use Socket; binmode STDOUT; alarm 10;
my ($h, $p, $u) = $ARGV[0] =~ m{^http://([^/:]+):?(\d*)(/.*)} or exit 1;
socket(S, AF_INET, SOCK_STREAM, 0);
connect(S, pack_sockaddr_in($p || 80, inet_aton($h) || exit 1)) or exit 1;
alarm 0;
syswrite S, "GET $u HTTP/1.0\r\nHost: $h\r\n\r\n";
<S> =~ m{^HTTP/1.. 200 } or exit 1;
1 while <S> =~ /[^\r\n]/;
print while read S, $_, 65536;' "$1"
}

exec 2>/dev/null
case $what in
  write|pull|keep|drop) follow_links; new=${path%/*}/$3 ;;
esac
case $what in
  look)
    [ -e "$path" ] || exit 20
    [ -f "$path" ] || exit 21
    n=$(wc -c <"$path") || exit 22
    s=-
    [ "$3" = 0 ] || s=$(sum "$path" "$n")
    echo $((n)) "$(mode)" "$s"
    ;;
  read) dd if="$path" bs=65536 skip="$3" count="$4" || exit 22 ;;
  write|pull)
    [ ! -e "$path" ] || [ -f "$path" ] || exit 21
    [ -d "${path%/*}/" ] || exit 23
    umask 077
    if [ "$what" = pull ]; then
      fetch "$4" || { rm -f -- "$new"; exit 24; }
    else
      cat >"$new" || { rm -f -- "$new"; exit 22; }
    fi
    n=$(wc -c <"$new")
    echo $((n)) "$(sum "$new" "$n")"
    ;;
  keep) keep "$4" || { rm -f -- "$new"; exit 22; }; mode ;;
  drop) rm -f -- "$new" ;;
esac
