#!/bin/sh
# Stands in for sudo in a sandbox of pve402, whose user needs no password, as in E2B's.
u=root keeps=
while [ $# -gt 0 ]; do
  case $1 in
  -u) u=$2 && shift 2 ;;
  -E) keeps=1 && shift ;;
  -[nHSkb]) shift ;;
  --) shift && break ;;
  -*) echo "sudo: of its options, this one knows -u, -E, -n, -H, -S, -k and -b" >&2 && exit 1 ;;
  *) break ;;
  esac
done
[ $# -gt 0 ] || { echo 'usage: sudo [-u USER] [-E] [NAME=VALUE ...] COMMAND ...' >&2 && exit 1; }
g=$(id -g -- "$u") || exit 1
while IFS=: read -r n _ _ _ _ h _; do [ "$n" != "$u" ] || break; done </etc/passwd
set -- "HOME=${h:-/}" "USER=$u" "LOGNAME=$u" "$@"
[ "$keeps" ] || set -- -i "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
  "TERM=${TERM:-dumb}" "LANG=${LANG:-C.UTF-8}" "$@"
exec /usr/local/lib/pve402/setpriv --reuid "$u" --regid "$g" --init-groups env "$@"
