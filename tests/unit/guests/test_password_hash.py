"""Hashes for /etc/shadow, against another implementation."""

import shutil
import subprocess

import pytest

from pve402.guests import password_hash


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("password", ["12345", "é" * 20, "x" * 63, "y" * 64, "z" * 128, ": $&\\"])
def test_another_implementation_agrees(password: str) -> None:
    command = ["openssl", "passwd", "-6", "-salt", "abcdefgh12345678", "-stdin"]
    other = subprocess.run(
        command, check=True, input=f"{password}\n", capture_output=True, text=True
    )

    assert password_hash.hash_password(password, "abcdefgh12345678") == other.stdout.strip()


def test_the_same_password_never_hashes_twice_alike() -> None:
    first, second = (password_hash.hash_password("correct horse") for _ in range(2))

    assert first != second
    assert first.startswith("$6$")
