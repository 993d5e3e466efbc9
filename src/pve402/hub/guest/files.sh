# Reads and writes files. Arguments: what to do, path, and more.
#   look PATH SUM              size, octal mode, and with SUM=1 a SHA-256 of so many bytes, or -
#   read PATH SKIP COUNT       COUNT blocks of 64 KiB from block SKIP on
#   write PATH NAME            takes stdin into NAME beside the file; its size and SHA-256 or -
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

exec 2>/dev/null
case $what in
  write|keep|drop) follow_links; new=${path%/*}/$3 ;;
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
  write)
    [ ! -e "$path" ] || [ -f "$path" ] || exit 21
    [ -d "${path%/*}/" ] || exit 23
    umask 077
    cat >"$new" || { rm -f -- "$new"; exit 22; }
    n=$(wc -c <"$new")
    echo $((n)) "$(sum "$new" "$n")"
    ;;
  keep) keep "$4" || { rm -f -- "$new"; exit 22; }; mode ;;
  drop) rm -f -- "$new" ;;
esac
