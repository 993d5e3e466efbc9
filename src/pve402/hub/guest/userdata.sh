# Runs the tenant's script, which comes by stdin, unless this guest ever began to: of all who try,
# one makes the mark, and only then is anything run. Arguments: name of the run, our id.
# Ends with 122 if another one runs or ran it, with 123 if there is no room for the mark.
# The variables have names that none of the lease's has.
_d=/var/lib/pve402
_f=$_d/$1.$2 _m=$_d/$1.run
umask 077
mkdir -p "$_d" && cat >"$_f" && echo "$2" >"$_f.id" && [ -s "$_f.id" ] || {
  rm -f "$_f" "$_f.id"
  exit 123
}
# A link is made whole or not at all, so that the mark always has an id.
ln "$_f.id" "$_m" && _c=0 || { [ -e "$_m" ] && _c=122 || _c=123; }
rm -f "$_f.id"
[ $_c -eq 0 ] || { rm -f "$_f"; exit $_c; }
umask 022
cd "$HOME" 2>/dev/null || cd /
exec 2>&1
read -r _l <"$_f"
case $_l in
  '#!'*) chmod 700 "$_f"; "$_f" </dev/null ;;
  *) sh "$_f" </dev/null ;;
esac
_c=$?
rm -f "$_f"
exit $_c
