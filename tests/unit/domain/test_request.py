"""A creation request: what passes, what is refused, and what makes two requests the same."""

from importlib import resources

import pytest

from pve402.domain import catalogue, errors, lease, request

CATALOGUE = catalogue.parse(
    (resources.files("pve402.domain") / "default_catalogue.toml").read_text()
)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@home"


def wish(**changes: object) -> request.CreationRequest:
    given = {
        "sku": "standard-lxc",
        "minutes": 60,
        "hostname": "demo-server",
        "size": lease.Size(cores=1, memory_mb=512, disk_gb=8),
        "password": "correct horse",
        **changes,
    }
    return request.CreationRequest(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("hostname", ["a", "demo-server", "a.example.com", "x" * 63, "123"])
def test_a_good_hostname_passes(hostname: str) -> None:
    assert wish(hostname=hostname).check(CATALOGUE).name == "standard-lxc"


@pytest.mark.parametrize(
    "hostname",
    ["", "-a", "a-", "a_b", "a b", "x" * 64, "a..b", ".a", "a;reboot", "a\n", "ü", "--rootfs=1"],
)
def test_a_bad_hostname_is_refused(hostname: str) -> None:
    with pytest.raises(errors.InvalidHostname):
        wish(hostname=hostname).check(CATALOGUE)


@pytest.mark.parametrize("password", ["1234", "x" * 129, "tab\there", "new\nline", "\x00aaaaa"])
def test_a_bad_password_is_refused(password: str) -> None:
    with pytest.raises(errors.InvalidPassword):
        wish(password=password).check(CATALOGUE)


def test_a_key_is_enough_and_nothing_is_not() -> None:
    assert wish(password=None, ssh_public_keys=(KEY,)).check(CATALOGUE)
    with pytest.raises(errors.CredentialRequired):
        wish(password=None).check(CATALOGUE)


@pytest.mark.parametrize(
    "key", ["", "nonsense", KEY + "\n" + KEY, 'command="x" ' + KEY, KEY[:20], "ssh-dss " + "A" * 40]
)
def test_a_bad_key_is_refused(key: str) -> None:
    with pytest.raises(errors.InvalidSshKey):
        wish(ssh_public_keys=(key,)).check(CATALOGUE)


def test_too_many_keys_are_refused() -> None:
    with pytest.raises(errors.InvalidSshKey):
        wish(ssh_public_keys=(KEY,) * 17).check(CATALOGUE)


@pytest.mark.parametrize("key", ["short", "x" * 256, "with space" * 3, "ümlaut" * 5])
def test_a_bad_idempotency_key_is_refused(key: str) -> None:
    with pytest.raises(errors.InvalidIdempotencyKey):
        request.check_idempotency_key(key)


def test_the_password_is_part_of_what_makes_requests_the_same_and_not_to_be_read() -> None:
    one, other = wish(), wish(password="another one")

    prints = [request.fingerprint("r", w.canonical(), b"key") for w in (one, wish(), other)]

    assert prints[0] == prints[1] != prints[2]
    assert request.fingerprint("r", one.canonical(), b"other key") != prints[0]
    assert "correct horse" not in repr(one)


@pytest.mark.parametrize(
    "sku", ["basic-lxc", "Big One", "a.b_c", "x" * 64, "-", "\u00fc", "gpu--", "9"]
)
def test_a_default_host_name_is_valid_and_stays_the_same(sku: str):
    lease_id = "l" + "7" * 25

    name = request.default_hostname(sku, lease_id)

    request.check_hostname(name)
    assert name == request.default_hostname(sku, lease_id)
    assert name != request.default_hostname(sku, "l" + "8" * 25)


def test_a_lease_keeps_what_was_asked_for_and_no_secret():
    made = wish(
        template="debian-12", password="correct horse", metadata={"requester": "ci", "payload": 1}
    )

    assert made.kept() == {"requester": "ci", "payload": 1, "template": "debian-12"}


def test_variables_are_part_of_what_is_ordered_and_no_order_of_before_changes() -> None:
    before = request.fingerprint("r", wish().canonical(), b"key")
    first = request.fingerprint("r", wish(env={"A": "1"}).canonical(), b"key")
    second = request.fingerprint("r", wish(env={"A": "2"}).canonical(), b"key")

    assert "env" not in wish().canonical()
    assert len({before, first, second}) == 3


def test_of_variables_only_the_names_are_kept_and_shown() -> None:
    asked = wish(env={"B": "hunter2", "A": "hunter2"})

    assert asked.kept()["env"] == ["A", "B"]
    assert "hunter2" not in repr(asked) + str(asked.kept())


def test_a_variable_that_no_shell_can_set_is_refused() -> None:
    with pytest.raises(errors.InvalidEnv):
        wish(env={"UID": "0"}).check(CATALOGUE)
