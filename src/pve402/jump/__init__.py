"""The jump host: `ssh -J LEASE@host root@LEASE`. It carries bytes and speaks SSH for no more."""
