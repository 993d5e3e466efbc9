"""SSH public keys are judged as `ssh-keygen -l` judges them."""

from __future__ import annotations

import base64
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pve402_devnet.pve import errors, public_keys

KINDS = {
    "ed25519": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINlm+Tyr3tHhCb71LlvHtfU06SPzSHKebOUy/9Q5l0g5",
    "ecdsa": (
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMilLeiSeAljX0Ah"
        "CTbs00ugp6XHfc9VAOqmwNcyaPvJx/FkEbhp8KTFhAZydaVHEmcDwMnf3CrHxhcEaEnkFx4="
    ),
    "rsa": (
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQCqzxVrgWMyrWDZDMTnpMR9C7IvB/2zzKKsItNSFQBz0WKC0Ps5"
        "mDczQ8KY+Ax54a8i8K4CwMIA7IX7DMtq1GAT6L0mBfwS226E0lLAVh3b0qJbLo4dfzNEGGDhH5A0TG7q1KJ464Fc"
        "NoAcJc3tDSYP0/G5nvYPlWOPs4cWsE16HGv/8MrJNE63FHwnCjtt3hxWf0RNh8hFF8U/3m4hxohDxMLTAsyxpj/C"
        "BWipsqZRUqS2+NRbnve24zhk7dKYN+yw4K6SscowL5TDAmT+dg8e9sBEU8z8Dut3Q7vrDxQznzfFu+HGA4EXAAMB"
        "WV5BK16xLQt3Z53TclXGa12SNfir/EttbrBk4yvkXem6fK8xFwQAcxBKGOiRYUpJXR3pRgg7lvexqdRd5BKEAyGY"
        "1O47d9/cHaYAbfh9s17ezor/R272lEo/NHuhJIWpKWR0y8QT+6fD/G+S6eBVzDJCLw/Akro60Xne1fo+LuWs15tM"
        "A2XBYeAn2FYbJbOItSRcf7E="
    ),
}


def damaged(change: Callable[[str, str], str]) -> Callable[[str], str]:
    """A change of a key's type and base64 text."""
    return lambda key: change(*key.split()[:2])


CHANGES: dict[str, Callable[[str], str]] = {
    "as it is": lambda key: key,
    "with a comment": lambda key: f"{key} me@home é",
    "behind blanks": lambda key: f"  {key}",
    "with a tab": damaged(lambda kind, body: f"{kind}\t{body}\tme"),
    "with a carriage return": lambda key: f"{key}\r",
    "behind options": lambda key: f'from="10.0.0.1",no-pty {key}',
    "one character short": damaged(lambda kind, body: f"{kind} {body[:-1]}"),
    "four characters short": damaged(lambda kind, body: f"{kind} {body[:-4]}"),
    "half": damaged(lambda kind, body: f"{kind} {body[: len(body) // 8 * 4]}"),
    "longer": damaged(lambda kind, body: f"{kind} {body.rstrip('=')}AAAA"),
    "mistyped": damaged(lambda kind, body: f"{kind} {body[:30]}!{body[31:]}"),
    "mistyped in its type": damaged(lambda kind, body: f"{kind} B{body[1:]}"),
    "of another type inside": damaged(lambda _, body: f"ssh-dss {body}"),
    "of another type outside": damaged(
        lambda kind, body: f"{'ssh-rsa' if kind != 'ssh-rsa' else 'ssh-ed25519'} {body}"
    ),
    "without its type": damaged(lambda _, body: body),
    "a remark": lambda key: f"# {key}",
    "something else": lambda _: "hello world",
}


def as_ssh_keygen(line: str, folder: Path) -> bool:
    """What the program itself says."""
    file = folder / "key.pub"
    file.write_text(line)
    command = ["ssh-keygen", "-l", "-f", str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_line_is_judged_as_the_program_judges_it(kind: str, change: str, tmp_path: Path) -> None:
    line = CHANGES[change](KINDS[kind])

    assert public_keys.is_valid(line.strip()) == as_ssh_keygen(line, tmp_path)


def test_a_security_key_is_a_key(tmp_path: Path) -> None:
    def string(value: bytes) -> bytes:
        return struct.pack(">I", len(value)) + value

    kind = b"sk-ssh-ed25519@openssh.com"
    point = base64.b64decode(KINDS["ed25519"].split()[1])[-32:]
    blob = string(kind) + string(point) + string(b"ssh:")
    line = f"{kind.decode()} {base64.b64encode(blob).decode()}"

    assert public_keys.is_valid(line)
    assert as_ssh_keygen(line, tmp_path)


def test_blank_lines_count_as_nothing_and_one_bad_line_spoils_all() -> None:
    good = KINDS["ed25519"]
    public_keys.require_valid(f"\n{good}\n\n{good} two\n")

    with pytest.raises(errors.Failure, match="SSH public key validation error"):
        public_keys.require_valid(f"{good}\n{good[:-1]}\n")
