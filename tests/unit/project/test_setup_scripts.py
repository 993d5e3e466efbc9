"""The scripts behind `make`: what they do on a machine that lacks something."""

import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.support import project


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The scripts' folder, importable as it is when one of them runs."""
    folder = project.ROOT / "scripts"
    before = set(sys.modules)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in set(sys.modules) - before:
        if (folder / f"{name}.py").exists():
            del sys.modules[name]


@pytest.fixture
def system_packages(scripts: Path) -> ModuleType:
    import system_packages

    return system_packages


@pytest.fixture
def environments(scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import environments

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    return environments


def test_what_is_there_is_not_installed_again(system_packages: ModuleType) -> None:
    said: list[str] = []
    needs = [system_packages.Need("a shell", ("no-such-package",), lambda: True)]

    system_packages.provide(needs, said.append)

    assert said == []


def test_without_rights_the_missing_packages_are_named(
    system_packages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_packages, "apt_command", lambda: None)
    needs = [
        system_packages.Need("Chromium", ("chromium",), lambda: False),
        system_packages.Need("busybox", ("busybox-static",), lambda: False),
    ]

    with pytest.raises(system_packages.SetupError, match="busybox-static chromium"):
        system_packages.provide(needs, lambda _: None)


def test_a_package_that_does_not_bring_the_program_is_an_error(
    system_packages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_packages, "apt_command", lambda: ["apt-get"])
    monkeypatch.setattr(system_packages, "install_packages", lambda *_: None)
    needs = [system_packages.Need("Chromium", ("chromium",), lambda: False)]

    with pytest.raises(system_packages.SetupError, match="still missing: Chromium"):
        system_packages.provide(needs, lambda _: None)


def test_an_environment_is_current_until_its_list_changes(
    environments: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("one==1\n")
    environment = environments.Environment("any", tmp_path / "venv", ("list.txt",))
    environment.folder.mkdir()
    environments._write_stamp(environment)
    assert environment.is_current()

    (tmp_path / "list.txt").write_text("one==2\n")

    assert not environment.is_current()


def test_an_unfinished_environment_is_not_current(environments: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("one==1\n")
    environment = environments.Environment("any", tmp_path / "venv", ("list.txt",))

    environment.folder.mkdir()

    assert not environment.is_current()


def test_independent_steps_are_done_side_by_side(scripts: Path) -> None:
    import setup as setting_up

    both, came = threading.Barrier(2, timeout=60), []

    setting_up.do_all([lambda: came.append(both.wait()) for _ in range(2)], at_once=2)

    assert sorted(came) == [0, 1]


def test_the_first_step_that_fails_is_told_once_all_have_ended(scripts: Path) -> None:
    import setup as setting_up

    done: list[str] = []

    def fail(what: str) -> None:
        raise setting_up.SetupError(what)

    steps = [functools.partial(fail, "one"), lambda: done.append("two"), lambda: fail("three")]
    with pytest.raises(setting_up.SetupError, match="one"):
        setting_up.do_all(steps, at_once=2)
    assert done == ["two"]


def test_a_program_that_cannot_be_unpacked_leaves_nothing_behind(
    scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import unpacked

    def refuse(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(100, command)

    program = unpacked.Program(name="tool", what="tool", packages=("tool-pkg",), path="no/tool")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", refuse)

    with pytest.raises(unpacked.SetupError, match="install tool-pkg"):
        unpacked.provide((program,), lambda _: None)

    assert [path.name for path in tmp_path.rglob("*")] == [".cache", "tool"]
