# Reads and writes files. Arguments: what to do, path, and more.
#   look PATH SUM              size, octal mode, and with SUM=1 a SHA-256 or -
#   read PATH SKIP COUNT       COUNT blocks of 64 KiB from block SKIP on
#   write PATH TEMPORARY       takes stdin; prints its size and SHA-256 or -
#   keep PATH TEMPORARY MODE   puts the temporary file in its place
#   drop PATH TEMPORARY
# Exit codes: 20 missing, 21 not a file, 22 refused, 23 its directory is missing.
what=$1 path=$2

sum() {
  if command -v sha256sum >/dev/null; then s=$(sha256sum <"$1"); echo "${s%% *}"; else echo -; fi
}

case $what in
  look)
    [ -e "$path" ] || exit 20
    [ -f "$path" ] || exit 21
    n=$(wc -c <"$path") || exit 22
    m=$(stat -c %a -- "$path" 2>/dev/null) || m=-
    s=-
    [ "$3" = 0 ] || s=$(sum "$path")
    echo $((n)) "$m" "$s"
    ;;
  read) dd if="$path" bs=65536 skip="$3" count="$4" 2>/dev/null || exit 22 ;;
  write)
    [ ! -d "$path" ] || exit 21
    case $path in */*) [ -d "${path%/*}/" ] || exit 23 ;; esac
    umask 077
    cat 2>/dev/null >"$3" || { rm -f -- "$3"; exit 22; }
    n=$(wc -c <"$3")
    echo $((n)) "$(sum "$3")"
    ;;
  keep)
    if [ "$4" != - ]; then chmod "$4" -- "$3" || chmod "$4" "$3"; fi 2>/dev/null &&
      mv -f -- "$3" "$path" 2>/dev/null || { rm -f -- "$3"; exit 22; }
    ;;
  drop) rm -f -- "$3" ;;
esac
