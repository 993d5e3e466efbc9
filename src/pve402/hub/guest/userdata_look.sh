# Tells about a script that runs once. Arguments: name of the run: whose mark is there, `-` for none.
# Or nothing, the spool directory of the command that runs it, and bytes: the end of its output.
if [ -n "$1" ]; then
  m=/var/lib/pve402/$1.run
  [ -e "$m" ] || { echo -; exit; }
  head -c 64 "$m"
  exit
fi
o=$2/out
# The end of what was too long is there once everybody has closed it; a server may never.
if [ -e "$2/truncated" ]; then
  [ -s "$o.last" ] || sleep 1
  [ ! -s "$o.last" ] || o=$o.last
fi
tail -c "$3" "$o"
