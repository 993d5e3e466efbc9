"""Configuration files: what values read back as, digests, pending changes."""

import pytest

from pve402_devnet.pve import config, errors


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("tags", "", " "),
        ("hostname", " web ", "web"),
        ("memory", 512, 512),
        ("description", "one\ntwo", "one\ntwo\n"),
        ("description", "one\n\n", "one\n"),
        ("description", "", None),
    ],
)
def test_values_pass_through_the_file(
    name: str, value: str | int, stored: str | int | None
) -> None:
    assert config.as_stored(name, value) == stored


def test_a_line_end_elsewhere_is_refused() -> None:
    with pytest.raises(errors.Failure, match="invalid newline inside property 'tags'"):
        config.as_stored("tags", "a\nb")


def test_the_digest_of_a_guest_being_created_is_the_recorded_one() -> None:
    conf = config.GuestConfig(options={"lock": "create"})

    assert conf.digest == "a7e9f8c42935261b36fcd1d7d6cd8cd41648da49"


def test_the_file_has_description_options_environment_and_sections() -> None:
    conf = config.GuestConfig(
        options={"memory": 128, "description": "é\n", "env": "A=b\0C=d", "arch": "amd64"},
        pending={"cmode": "tty"},
        pending_delete=["tags"],
        snapshots={"s1": {"memory": 64}},
    )

    assert conf.render() == (
        "#%E9\narch: amd64\nmemory: 128\n"
        "lxc.environment.runtime: A=b\nlxc.environment.runtime: C=d\n"
        "\n[pve:pending]\ncmode: tty\ndelete: tags\n"
        "\n[s1]\nmemory: 64\n"
    )


def test_pending_changes_are_merged_in() -> None:
    conf = config.GuestConfig(
        options={"cmode": "shell", "tags": "a"}, pending={"cmode": "tty"}, pending_delete=["tags"]
    )

    assert conf.merged() == {"cmode": "tty"}


def test_locks_and_protection_refuse() -> None:
    conf = config.GuestConfig(options={"lock": "backup", "protection": 1})

    with pytest.raises(errors.Failure, match=r"CT is locked \(backup\)"):
        conf.require_unlocked()
    with pytest.raises(errors.Failure, match="can't - protection mode enabled"):
        conf.require_unprotected("can't")


def test_volumes_leave_out_bind_mounts() -> None:
    conf = config.GuestConfig(
        options={"rootfs": "local:101/vm-101-disk-0.raw,size=1G", "mp0": "/srv,mp=/data"}
    )

    assert conf.volumes() == {"rootfs": {"volume": "local:101/vm-101-disk-0.raw", "size": "1G"}}
