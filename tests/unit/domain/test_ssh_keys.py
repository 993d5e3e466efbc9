"""SSH public keys are read as `ssh-keygen -l` reads them."""

import base64
import subprocess
from pathlib import Path

import pytest

from pve402.domain import errors, request, ssh_keys

KINDS = {
    "ed25519": ("ed25519", 256),
    "rsa-1024": ("rsa", 1024),
    "rsa-3072": ("rsa", 3072),
    "ecdsa-256": ("ecdsa", 256),
    "ecdsa-384": ("ecdsa", 384),
    "ecdsa-521": ("ecdsa", 521),
}


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A key of each kind, made by OpenSSH, and one of each kind of security key."""
    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for name, (kind, bits) in KINDS.items():
        command = ["ssh-keygen", "-q", "-t", kind, "-b", str(bits), "-N", "", "-C", "me@home"]
        subprocess.run([*command, "-f", str(folder / name)], check=True)
        made[name] = (folder / f"{name}.pub").read_text()
    made["sk-ed25519"] = write("sk-ssh-ed25519@openssh.com", b"\1" * 32, b"ssh:")
    point = blob_of(made["ecdsa-256"])[-65:]
    made["sk-ecdsa"] = write("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", point, b"ssh:")
    return made


def write(kind: str, *strings: bytes, inner: str = "", behind: bytes = b"") -> str:
    parts = ((inner or kind).encode(), *strings)
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts) + behind
    return f"{kind} {base64.b64encode(blob).decode()} me@home\n"


def blob_of(key: str) -> bytes:
    return base64.b64decode(key.split()[1])


def by_openssh(key: str, folder: Path) -> bool:
    file = folder / "key"
    file.write_text(key, encoding="utf-8")
    command = ["ssh-keygen", "-l", "-f", str(file)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def by_us(key: str) -> bool:
    try:
        ssh_keys.check(ssh_keys.tidy(key))
    except ssh_keys.BadKey:
        return False
    return True


def changed(key: str, position: int, letter: str) -> str:
    kind, body, comment = key.split()
    return f"{kind} {body[:position]}{letter}{body[position + 1 :]} {comment}\n"


def last_letter_raised(key: str) -> str:
    """The last letter before the padding by one more, in bits that the padding leaves unused."""
    kind, body, comment = key.split()
    letters = body.rstrip("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    raised = alphabet[(alphabet.index(letters[-1]) + 1) % 64]
    return f"{kind} {letters[:-1]}{raised}{body[len(letters) :]} {comment}"


def spoilt(key: str) -> dict[str, str]:
    """What people and programs do to a key on its way, each under a name."""
    kind, body, comment = key.split()
    blob = base64.b64decode(body)
    return {
        "cut by one": f"{kind} {body[:-1]} {comment}",
        "cut by four": f"{kind} {body.rstrip('=')[:-4]} {comment}",
        "cut in the middle": f"{kind} {body[: len(body) // 8 * 4]} {comment}",
        "without padding": f"{kind} {body.rstrip('=')} {comment}",
        "more padding": f"{kind} {body}== {comment}",
        "padding within": f"{kind} {body[:40]}=={body[42:]} {comment}",
        "a last letter that says more": last_letter_raised(key),
        "letters for addresses": f"{kind} {body.replace('/', '_').replace('+', '-')}- {comment}",
        "a letter that is none": changed(key, 30, "!"),
        "a letter fewer": f"{kind} {body[:30]}{body[31:]} {comment}",
        "bytes behind": f"{kind} {base64.b64encode(blob + bytes(4)).decode()} {comment}",
        "another outer type": f"ssh-dss {body} {comment}",
        "an inner length": changed(key, 2, "B"),
        "an inner type": changed(key, 9, "x"),
        "no type": f"{body} {comment}",
        "no body": kind,
        "a body of blanks": f"{kind}    ",
        "the whole twice": f"{kind} {body}{body} {comment}",
    }


@pytest.mark.parametrize("name", [*KINDS, "sk-ed25519", "sk-ecdsa"])
def test_a_key_and_what_is_left_of_it_are_taken_as_openssh_takes_them(
    keys: dict[str, str], name: str, tmp_path: Path
) -> None:
    assert by_us(keys[name])
    assert by_openssh(keys[name], tmp_path)
    for what, key in spoilt(keys[name]).items():
        assert by_us(key) is by_openssh(key, tmp_path), what


@pytest.mark.parametrize("name", ["ecdsa-256", "ecdsa-384", "ecdsa-521", "sk-ecdsa"])
@pytest.mark.parametrize("place", [60, 90, 130])
def test_one_mistyped_letter_of_a_point_is_noticed(
    keys: dict[str, str], name: str, place: int, tmp_path: Path
) -> None:
    letter = "A" if keys[name].split()[1][place] != "A" else "B"
    key = changed(keys[name], place, letter)

    assert not by_us(key)
    assert not by_openssh(key, tmp_path)


@pytest.mark.parametrize(
    ("kind", "strings", "inner"),
    [
        ("ssh-ed25519", (b"\1" * 32,), "ssh-rsa"),
        ("ssh-ed25519", (b"\1" * 31,), ""),
        ("ssh-ed25519", (b"\1" * 32, b"more"), ""),
        ("ssh-ed25519", (), ""),
        ("ssh-rsa", (b"\1\0\1", b"\x7f" + b"\1" * 95), ""),
        ("ssh-rsa", (b"\1\0\1", b"\x80" + b"\1" * 255), ""),
        ("ssh-rsa", (b"\1\0\1",), ""),
        ("ecdsa-sha2-nistp256", (b"nistp384", b"\4" + bytes(96)), ""),
        ("ecdsa-sha2-nistp256", (b"nistp256", b"\4" + bytes(64)), ""),
        ("ecdsa-sha2-nistp256", (b"nistp256", b"\2" + bytes(32)), ""),
        ("ecdsa-sha2-nistp999", (b"nistp999", b"\4" + bytes(64)), ""),
        ("sk-ssh-ed25519@openssh.com", (b"\1" * 32,), ""),
        ("x-unknown", (b"\1" * 32,), ""),
    ],
)
def test_a_key_made_wrongly_is_refused_as_by_openssh(
    kind: str, strings: tuple[bytes, ...], inner: str, tmp_path: Path
) -> None:
    key = write(kind, *strings, inner=inner)

    assert not by_us(key)
    assert not by_openssh(key, tmp_path)


@pytest.mark.parametrize(
    ("around", "comment"),
    [
        ("{}\n", "me@home"),
        ("{}\r\n", "me@home"),
        ("{}\t", "me@home"),
        ("  {}\n\n", "me@home"),
        ("{}", "josé@büro"),
        ("{}", ""),
        ("{}", "a comment of many words"),
        ("{}", "x" * 500),
        ("{}", "\x1b[31mred"),
    ],
)
def test_what_stands_around_a_key_does_no_harm(
    keys: dict[str, str], around: str, comment: str
) -> None:
    kind, body, _ = keys["ed25519"].split()
    tidied = ssh_keys.tidy(around.format(f"{kind}\t{body} {comment}"))

    request.check_ssh_keys((tidied,))
    assert tidied.split(" ")[:2] == [kind, body]
    assert tidied.isascii()
    assert tidied.isprintable()
    assert len(tidied) < 400


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "it is empty"),
        ("ssh-ed25519 AAAA", "incomplete"),
        ("ssh-ed25519 AAAAC3Nz*", "incomplete or mistyped"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n", "private key"),
        ("{key}\n{key}", "more than one line"),
        ('command="x" {key}', "key type"),
        (write("ssh-ed25519", b"\1" * 32, inner="ssh-rsa"), "another type"),
    ],
)
def test_the_message_names_the_key_and_the_reason(
    keys: dict[str, str], key: str, reason: str
) -> None:
    bad = ssh_keys.tidy(key.replace("{key}", keys["ed25519"].strip()))

    with pytest.raises(errors.InvalidSshKey, match=rf"SSH public key 2 cannot be used.*{reason}"):
        request.check_ssh_keys((ssh_keys.tidy(keys["ed25519"]), bad))
