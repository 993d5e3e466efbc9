# Keeps the lease's variables, which come by stdin as shell text. Argument: the file.
umask 077
cat >"$1"
