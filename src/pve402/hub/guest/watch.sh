# Tells what changes in the folder $1: EVENTS, a space, the name, NUL. The first is READY, once it
# listens. Exits with 29 if there is no inotifywait that ends names with NUL.
exec 2>/dev/null 3>&1
command -v inotifywait >/dev/null || exit 29
case $(inotifywait --help) in *--no-newline*) ;; *) exit 29 ;; esac
E=create,moved_to,delete,moved_from,close_write,attrib,delete_self,move_self,unmount
inotifywait -m --format '%e %f%0' --no-newline -e $E "$1/" 2>&1 >&3 |
  while read -r l; do
    case $l in *established*) printf 'READY \0' >&3 ;; esac
  done
