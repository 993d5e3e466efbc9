"""Exit codes of process 1 of a guest, which its launcher passes on."""

HALTED = 0
FAILED = 70
REBOOT = 77
