# Lists, describes and changes files and folders. Arguments: what to do, path, and more.
#   list PATH DEPTH LIMIT KEY...  entries below a folder that come after KEY..., then . or + if more
#   stat PATH                     its facts, and where a link leads to
#   make PATH MODE PARENTS        a folder, with PARENTS=1 those above it too
#   move PATH TO REPLACE
#   remove PATH RECURSIVE
#   set PATH MODE OWNER           - leaves one as it is
# Facts are lines of `stat`; after NUL follow the names they are of, each ended by NUL: a name may
# hold everything else. The last part of PATH is taken as it is, even if it is a link, except that
# `list` looks where it leads to. Exit codes: 20 missing, 22 refused, 23 its folder is missing,
# 24 not a folder, 25 something is there, 26 not empty, 27 a link has no mode.
what=$1 path=$2
F='%f %s %u %g %Y'

exists() { [ -e "$1" ] || [ -L "$1" ]; }

is_folder() { [ -d "$1" ] && [ ! -L "$1" ]; }

is_empty() {
  cd "$1" || return
  for f in * .[!.]* ..?*; do
    ! exists "./$f" || return
  done
}

# Whether name $1 at level $2 comes after the last page; same=1 if that ended with it or below it.
# Patterns put x before .x and .x before ..x, so the keys do.
comes_after() {
  case $1 in ..*) k=2$1 ;; .*) k=1$1 ;; *) k=0$1 ;; esac
  eval "at=\$at$2"
  same=0
  [ "$k" = "$at" ] && same=1 && return 1
  [ "$k" \> "$at" ] && past=1
}

# Put an entry on the page. Fails if there is no room.
take() {
  if [ $n -ge "$limit" ] || [ $size -gt 200000 ]; then
    more=+
    return 1
  fi
  n=$((n + 1)) size=$((size + ${#1}))
  eval "e$n=\$1"
  page="$page \"./\$e$n\""
}

# The folder $3, where we are, is below the first one as $1 (ending in /), at level $2.
walk() {
  for f in * .[!.]* ..?*; do
    exists "./$f" || continue
    if [ $past = 0 ] && ! comes_after "$f" "$2"; then
      [ $same = 1 ] || continue
    else
      take "$1$f" || return
    fi
    if [ "$2" -lt "$depth" ] && is_folder "./$f" && cd -P "./$f"; then
      walk "$1$f/" $(($2 + 1)) "$PWD"
      [ $more = . ] || return
      cd -P "$3" || exit 22
    fi
  done
}

# What is gone by now is left out.
tell() {
  [ $# -gt 0 ] || return 0
  if s=$(stat -c "$F" -- "$@"); then
    printf '%s\n\0' "$s"
    printf '%s\0' "$@"
  else
    for f; do
      s=$(stat -c "$F" -- "$f") && printf '%s\n\0%s\0' "$s" "$f"
    done
  fi
}

list() {
  depth=$1 limit=$2 n=0 size=0 more=. past=0 page=
  shift 2
  at1=$1 at2=$2 at3=$3 at4=$4 at5=$5 at6=$6 at7=$7 at8=$8
  stat -c %f / >/dev/null && cd -P "$path" || exit 22
  walk '' 1 "$PWD"
  cd -P "$path" || exit 22
  eval "set -- $page"
  tell "$@"
  printf %s $more
}

make() {
  exists "$path" && { [ "$2" = 1 ] && [ -d "$path" ] && return; exit 25; }
  [ "$2" = 0 ] || mkdir -p "${path%/*}/"
  [ -d "${path%/*}/" ] || exit 23
  mkdir -m "$1" "$path"
}

move() {
  [ -d "${1%/*}/" ] || exit 23
  exists "$1" && { [ "$2" = 0 ] || [ -d "$1" ]; } && exit 25
  # Where `mv` knows -T, a folder that appears just now does not swallow the entry.
  case $(mv --help 2>&1) in *-T*) mv -f -T "$path" "$1" ;; *) mv -f "$path" "$1" ;; esac
}

remove() {
  if ! is_folder "$path"; then
    rm -f "$path"
  elif [ "$1" = 1 ]; then
    rm -rf "$path"
  else
    (is_empty "$path") || exit 26
    rmdir "$path"
  fi && ! exists "$path"
}

set_both() {
  [ "$1" = - ] || [ ! -L "$path" ] || exit 27
  { [ "$2" = - ] || chown -h "$2" "$path"; } && { [ "$1" = - ] || chmod "$1" "$path"; }
}

exec 2>/dev/null
LC_ALL=C
export LC_ALL
umask 022
[ "$what" = make ] || exists "$path" || exit 20
[ "$what" != list ] || [ -d "$path" ] || exit 24
shift 2
case $what in
  list) list "$@" ;;
  stat) stat -c "$F" "$path" && { [ ! -L "$path" ] || readlink "$path"; } ;;
  make) make "$@" ;;
  move) move "$@" ;;
  remove) remove "$@" ;;
  set) set_both "$@" ;;
esac || exit 22
