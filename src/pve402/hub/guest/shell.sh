# An interactive shell on a pseudo terminal of its own, or a program. Arguments: rows, columns, how
# Python makes a terminal, and the program as text for a shell, if there is one. The agent resizes the
# terminal whose name is left in the file PVE402_Y.y.
PVE402_I="tty >\"\$PVE402_Y.y\";unset PVE402_Y;stty sane rows $1 cols $2;"
if [ -n "${4:-}" ]; then PVE402_I="$PVE402_I$4"; else
PVE402_I="$PVE402_I"'while IFS=: read -r _u _p _i _g _n _h _s;do [ "$_u" = root ]&&break;done </etc/passwd;[ -x "$_s" ]||_s=/bin/sh;'
PVE402_I="$PVE402_I"'SHELL=$_s;export SHELL;cd;exec "$_s" -il'
fi
export TERM="${TERM:-xterm-256color}"
if command -v script >/dev/null; then exec script -qefc "$PVE402_I" /dev/null; fi
if command -v python3 >/dev/null; then exec python3 -c "$3" "$PVE402_I"; fi
echo 'pve402: this container has no program that makes a terminal; install util-linux' \
  '(`apk add util-linux-misc`) or python3, or use exec' >&2
exit 127
