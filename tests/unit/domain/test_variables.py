"""The variables of a lease: which pass, and how a shell is told of them."""

import subprocess

import pytest

from pve402.domain import errors, variables

SECRET = "hunter2"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"A": ""},
        {"_x1": "v", "PATH": "/opt/bin", "LC_ALL": "C", "lower": "ü\n'\"$(id)`\\"},
        {"n" * 128: "x"},
        {f"N{number}": "" for number in range(64)},
        {"A": "x" * (32 * 1024 - 1)},
    ],
)
def test_what_every_shell_can_set_passes(given: dict[str, str]) -> None:
    variables.check(given)


@pytest.mark.parametrize(
    "name",
    [
        *("", "1A", "A-B", "A.B", "A B", "A=B", "ü", "A\n", "-x", "A;id", "n" * 129),
        *("_", "_c", "UID", "PPID", "IFS", "OPTIND", "BASH_ENV", "SHELLOPTS", "PVE402_Y"),
    ],
)
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(errors.InvalidEnv) as refused:
        variables.check({name: SECRET})

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        {f"N{number}": "" for number in range(65)},
        {"A": "x" * 32 * 1024},
        {"A": "ü" * 16 * 1024},
        {"A": "a\0b"},
    ],
    ids=["many", "long", "long in bytes", "NUL"],
)
def test_too_much_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(errors.InvalidEnv):
        variables.check(given)


def test_a_shell_reads_back_every_value() -> None:
    given = {"A": "it's", "B": '$(id)`id`\\\n"two"\n', "C": "", "D": "é\x7f\x01", "E": "-n"}
    command = variables.script(given) + b"env -0"

    shown = subprocess.run(["sh", "-c", command], capture_output=True, env={}, check=True).stdout

    read = dict(line.split("=", 1) for line in shown.decode().split("\0")[:-1])
    assert {name: read.get(name) for name in given} == given
