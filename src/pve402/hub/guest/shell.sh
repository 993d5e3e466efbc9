# An interactive shell on a pseudo terminal of its own, or a program. Arguments: rows, columns, how
# Python makes a terminal, and the program as text for a shell, if there is one. The agent resizes the
# terminal whose name is left in the file Y.y.
I="tty >\"\$Y.y\";unset Y;stty sane rows $1 cols $2;"
if [ -n "${4:-}" ]; then I="$I$4"; else
I="$I"'while IFS=: read -r u p i g n h s;do [ "$u" = root ]&&break;done </etc/passwd;[ -x "$s" ]||s=/bin/sh;'
I="$I"'SHELL=$s;export SHELL;cd;exec "$s" -il'
fi
export TERM="${TERM:-xterm-256color}"
if command -v script >/dev/null; then exec script -qefc "$I" /dev/null; fi
if command -v python3 >/dev/null; then exec python3 -c "$3" "$I"; fi
echo 'pve402: this container has no program that makes a terminal; install util-linux' \
  '(`apk add util-linux-misc`) or python3, or use exec' >&2
exit 127
