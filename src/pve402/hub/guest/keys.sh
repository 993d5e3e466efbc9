# The keys that may log in as root. Arguments: what to do, and the key; prints the file for `list`.
f=$HOME/.ssh/authorized_keys
umask 077
case $1 in
  list) [ ! -e "$f" ] || head -c 262144 "$f" ;;
  add)
    mkdir -p "$HOME/.ssh" || exit 3
    ! grep -qxF -e "$2" "$f" || exit 0
    [ ! -s "$f" ] || [ -z "$(tail -c 1 "$f")" ] || echo >>"$f"
    printf '%s\n' "$2" >>"$f" || exit 3
    ;;
  remove)
    cp -p "$f" "$f.pve402" || exit 3
    grep -vxF -e "$2" "$f" >"$f.pve402"
    [ $? -le 1 ] && mv "$f.pve402" "$f" || { rm -f "$f.pve402"; exit 3; }
    ;;
esac
