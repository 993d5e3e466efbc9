"""Arguments are added where a shell user would add them, or refused."""

import subprocess
from pathlib import Path

import pytest

from pve402.hub import errors, extra_arguments

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "ash": ["busybox", "ash"]}
SHOW = 'show() { printf \'%s.\' "$#" "$@"; cat; }; '


@pytest.fixture(params=SHELLS.values(), ids=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    command: list[str] = request.param
    return command


def run(shell: list[str], command: str) -> str:
    text = extra_arguments.add(SHOW + command)
    words = [*shell, "-c", text, "sh", "x y", "z"]
    with Path("/dev/null").open() as nothing:
        result = subprocess.run(words, check=False, capture_output=True, text=True, stdin=nothing)
    assert (result.stderr, result.returncode) == ("", 0), text
    return result.stdout


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("show", "2.x y.z."),
        ("show a", "3.a.x y.z."),
        ("show a\n", "3.a.x y.z."),
        ("show a \n\n\t\n", "3.a.x y.z."),
        ("show a # and why", "3.a.x y.z."),
        ("show a\n# the end\n", "3.a.x y.z."),
        ("show a#b", "3.a#b.x y.z."),
        ("show \\\n  a \\\n", "3.a.x y.z."),
        ("show a <<EOF\nbody\nEOF", "3.a.x y.z.body\n"),
        ("show a <<EOF\nbody\nEOF\n", "3.a.x y.z.body\n"),
        ("show a <<'EOF' # why\n$body\nEOF\n", "3.a.x y.z.$body\n"),
        ("show <<-\\EOF\n\tbody ;\n\tEOF\n", "2.x y.z.body ;\n"),
        ("cat <<''\nbody\n\nshow b", "body\n3.b.x y.z."),
        ("show a <<E\none\\\nE\nE\n", "3.a.x y.z.oneE\n"),
        ("show a <<E\none\\\\\nE\n", "3.a.x y.z.one\\\n"),
        ("show a <<'E'\none\\\nE\n", "3.a.x y.z.one\\\n"),
        ("show a <<E'O'F\none\nEO\nEOF\n", "3.a.x y.z.one\nEO\n"),
        ("show a <<A 3<<B\none\nA\ntwo\nB\n", "3.a.x y.z.one\n"),
        ("cat <<EOF\nbody\nEOF\nshow b", "body\n3.b.x y.z."),
        ("show a </dev/null", "3.a.x y.z."),
        ("show a 2>&1", "3.a.x y.z."),
        ("show 'a;b' \"c # d\"", "4.a;b.c # d.x y.z."),
        ('show "it\'s"', "3.it's.x y.z."),
        ("show $(echo a; echo b)", "4.a.b.x y.z."),
        ('show "$(echo "a)" # c )\n)"', "3.a).x y.z."),
        ("show `echo a`", "3.a.x y.z."),
        ("show ${unset:-a b}", "4.a.b.x y.z."),
        ("show $((1 + (2 * 3)))", "3.7.x y.z."),
        ("show done", "3.done.x y.z."),
        ("echo a; show fi", "a\n3.fi.x y.z."),
        ("false || show a", "3.a.x y.z."),
        ("true && A=1 show a", "3.a.x y.z."),
        ("for i in 1; do echo $i; done; show", "1\n2.x y.z."),
        ("(echo a)\nshow", "a\n2.x y.z."),
        ('f() { show "$@"; }; f', "2.x y.z."),
        ("case a in a) echo a;; esac\nshow", "a\n2.x y.z."),
        ("echo a | show b", "3.b.x y.z.a\n"),
        ("exec 3>&1\nshow >&3", "2.x y.z."),
    ],
)
def test_they_go_behind_the_last_word(shell: list[str], command: str, shown: str) -> None:
    assert run(shell, command) == shown


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("", "does not end in a program"),
        ("# nothing", "does not end in a program"),
        ("A=1", "does not end in a program"),
        (">file", "does not end in a program"),
        ("echo a;", "ends in `;`"),
        ("echo a; # and no more\n", "ends in `;`"),
        ("sleep 1 &", "ends in `&`"),
        ("echo a |", r"ends in `\|`"),
        ("echo a &&\n", "ends in `&&`"),
        ("(echo a)", r"ends in `\)`"),
        ("(echo a) >file", "does not end in a program"),
        ("{ echo a; }", "ends in `}`"),
        ("if true; then echo a; fi", "ends in `fi`"),
        ("while read x; do echo $x; done <file", "ends in `done`"),
        ("case a in a) echo;; esac", "ends in `esac`"),
        ("f() { echo a; }", "ends in `}`"),
        ("[ a = a ]", r"ends in `\["),
        ("true && [ -e /x ]", r"ends in `\["),
        ("[[ a = a ]]", r"ends in `\[\[`"),
        ("echo 'a", "a `'` is missing"),
        ('echo "a', 'a `"` is missing'),
        ("echo `a", "a ``` is missing"),
        ("echo ${a", "a `}` is missing"),
        ("echo $(a", "a parenthesis is not closed"),
        ("(echo a", "a parenthesis is not closed"),
        ("echo a\\", "ends in a backslash"),
        ("echo a >", "a redirection has no target"),
        ("echo " + "$(" * 50_000, "nested too deeply"),
        ('echo "' + '${a:-"' * 50_000, "nested too deeply"),
        ("echo $(case a in a) echo b;; esac)", "a `case` inside"),
    ],
)
def test_what_has_no_place_for_them_is_refused_and_told_why(command: str, reason: str) -> None:
    with pytest.raises(errors.RequestRefused, match=f"extraArgs cannot be added: .*{reason}"):
        extra_arguments.add(command)


@pytest.mark.parametrize("letters", ["'\"`", "$(){}", "<<E\n", ";&|#", "\\\n a", "a=1 >x"])
def test_any_text_is_taken_or_refused(letters: str) -> None:
    for number in range(len(letters) ** 5):
        text = "".join(letters[number // len(letters) ** n % len(letters)] for n in range(5))
        try:
            assert extra_arguments.ARGUMENTS in extra_arguments.add(text)
        except errors.RequestRefused:
            continue
