# Reads and writes files. Arguments: what to do, path, and more.
#   look PATH SUM              size, octal mode, with SUM=1 a SHA-256 of so many bytes, and a word
#                              that changes with the file; each may be - instead
#   read PATH SKIP COUNT GZIP  COUNT blocks of 64 KiB from block SKIP on, with GZIP=1 compressed
#   write PATH NAME GZIP       takes stdin into NAME beside the file; its size and SHA-256 or -
#   pull PATH NAME URL BOOT    fetches that into NAME; see fetch.sh, which comes before this
#   keep PATH NAME MODE        puts that in the file's place; prints the octal mode or -
#   unpack PATH NAME GZIP      unpacks that archive into the folder, PATH being FOLDER/.
#   pack PATH GZIP             the folder PATH as an archive
#   drop PATH NAME
# A link stands for the file it leads to. A file that is there keeps its owner and, where MODE
# is -, its mode. Exit codes: 20 missing, 21 not a file, 22 refused, 23 its directory is missing,
# 26 not a folder, 27 no tar, 28 not an archive.
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

# Over a file that is there: by a new one of the same owner and mode, so that other names of the
# old one (hard links) keep it; or, where these are not known or cannot be given, by writing into it.
replace() {
  if f=$(stat -c '%u:%g %a' -- "$path") && chown "${f% *}" "$new" && chmod "${f#* }" "$new"; then
    mv -f -- "$new" "$path"
  else
    cat "$new" >"$path" && rm -f -- "$new"
  fi
}

mode() { stat -c %a -- "$path" || echo -; }

version() {
  v=$(stat -c %i:%s:%z -- "$path") || v=-
  set -- $v
  IFS=_
  echo "$*"
}

keep() {
  if [ -f "$path" ]; then replace; else chmod 644 "$new" && mv -f -- "$new" "$path"; fi &&
    { [ "$1" = - ] || chmod "$1" "$path"; }
}

has_tar() { command -v tar >/dev/null; }

unpack() {
  has_tar || return 27
  z=cat
  [ "$1" = 0 ] || z='gzip -dc'
  $z "$new" | tar -xf - -C "${path%/*}/" || return 28
}

# GNU tar ends with 1 if a file changed meanwhile; the archive is good.
pack() {
  z=
  [ "$1" = 0 ] || z=z
  tar -c${z}f - -C "$path/" .
  r=$?
  if [ $r = 1 ]; then case $(tar --version) in *GNU*) r=0 ;; esac; fi
  exit $r
}

exec 2>/dev/null
case $what in
  write|pull|keep|unpack|drop) follow_links; new=${path%/*}/$3 ;;
esac
case $what in
  look)
    [ -e "$path" ] || exit 20
    [ -f "$path" ] || exit 21
    n=$(wc -c <"$path") || exit 22
    s=-
    [ "$3" = 0 ] || s=$(sum "$path" "$n")
    echo $((n)) "$(mode)" "$s" "$(version)"
    ;;
  read)
    [ -r "$path" ] || exit 22
    z=cat
    [ "$5" = 0 ] || z='gzip -1c'
    dd if="$path" bs=65536 skip="$3" count="$4" | $z
    ;;
  write|pull)
    case $path in */.) ;; *) [ ! -e "$path" ] || [ -f "$path" ] || exit 21 ;; esac
    [ -d "${path%/*}/" ] || exit 23
    umask 077
    if [ "$what" = pull ]; then
      pull "$4" "$5"
    elif [ "$4" = 1 ]; then
      gzip -dc >"$new" || { rm -f -- "$new"; exit 22; }
    else
      cat >"$new" || { rm -f -- "$new"; exit 22; }
    fi
    n=$(wc -c <"$new")
    echo $((n)) "$(sum "$new" "$n")"
    ;;
  keep) keep "$4" || { rm -f -- "$new"; exit 22; }; mode ;;
  unpack)
    unpack "$4"
    r=$?
    rm -f -- "$new"
    exit $r
    ;;
  pack)
    [ -d "$path/" ] || { [ -e "$path" ] && exit 26; exit 20; }
    has_tar || exit 27
    pack "$3"
    ;;
  drop) rm -f -- "$new" ;;
esac
