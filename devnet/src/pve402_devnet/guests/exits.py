"""Exit codes of a guest's process 1, which its launcher passes on."""

HALTED = 0
FAILED = 70
REBOOT = 77
