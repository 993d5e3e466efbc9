"""Requests become scripts; what cannot run is refused before anything is sent."""

import pytest

from pve402.hub import errors
from pve402.hub.invocation import LARGEST_ARGUMENT_BYTES, build
from pve402.hub.request import ExecRequest


def test_command_is_run_with_its_extra_arguments() -> None:
    script = build(ExecRequest(command="uptime", extra_args=("-p", "a b")))
    assert script.argv == (b'echo $$ >&8;exec 8>&-;uptime "$@"', b"sh", b"-p", b"a b")


def test_command_alone_is_left_as_it_is() -> None:
    assert build(ExecRequest(command="uptime # why")).argv[0].endswith(b";uptime # why")


def test_argv_is_executed() -> None:
    assert build(ExecRequest(argv=("ls", "-l"))).argv[0].endswith(b';exec "$@"')


def test_settings_are_quoted() -> None:
    request = ExecRequest(command="true", env={"A": "x'y"}, cwd="/a b'c")
    text, _, *words = (word.decode() for word in build(request).argv)
    assert text.endswith('cd -- "$1"||exit 126;shift;exec env -- "$@"')
    assert words == ["/a b'c", "A=x'y", "/bin/sh", "-c", "true", "sh"]


def test_another_user_gets_the_script_as_an_argument() -> None:
    script = build(ExecRequest(command="id", user="www-data"))
    assert script.argv[2:] == (b"echo $$ >&8;exec 8>&-;id", b"www-data")


@pytest.mark.parametrize(
    ("user", "script"),
    [("", b"echo $$ >&8;exec 8>&-;. /run/v;id"), ("root", b"echo $$ >&8;exec 8>&-;. /run/v;id")],
)
def test_root_reads_the_variables_before_the_command(user: str, script: bytes) -> None:
    built = build(ExecRequest(command="id", user=user))
    assert built.reading("/run/v").argv == (script, b"sh")
    assert built.reading("") == built


def test_the_variables_are_read_before_the_user_changes() -> None:
    built = build(ExecRequest(command="id", user="www-data"))
    script, *rest = built.argv
    assert built.reading("/run/v").argv == (b". /run/v;" + script, *rest)


@pytest.mark.parametrize(
    "values",
    [
        {"command": "a\0b"},
        {"argv": ("a", "\0")},
        {"command": "true", "env": {"A=B": "x"}},
        {"command": "true", "env": {f"A{n}": "x" for n in range(300)}},
        {"command": "true", "env": {"A": "\0"}},
        {"command": "true", "env": {"": "x"}},
        {"command": "true", "user": "-x"},
        {"command": "true", "user": "a b"},
        {"command": "x" * (LARGEST_ARGUMENT_BYTES + 1)},
        {"argv": ("a",) * 300},
        {"argv": ("x" * 100_000,) * 3},
    ],
)
def test_what_cannot_run_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(errors.RequestRefused):
        build(ExecRequest(**values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"command": "a", "argv": ("b",)},
        {"argv": ()},
        {"argv": ("a",), "extra_args": ("b",)},
        {"command": "a", "timeout_seconds": 0},
        {"command": "a", "output_limit_bytes": -1},
    ],
)
def test_requests_that_contradict_themselves(values: dict[str, object]) -> None:
    with pytest.raises(errors.RequestRefused):
        ExecRequest(**values)  # type: ignore[arg-type]


def test_nothing_of_a_request_shows_in_its_representation() -> None:
    request = ExecRequest(command="SECRET", stdin=b"SECRET", env={"A": "SECRET"})
    assert "SECRET" not in f"{request!r} {build(request)!r}"
