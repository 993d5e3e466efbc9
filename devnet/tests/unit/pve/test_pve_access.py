"""Rights: users, tokens with and without privilege separation, pools, NoAccess."""

import pytest

from pve402_devnet.pve import AccessOptions, AclOptions, TokenOptions, access, errors, privileges

ROLES = (("guests", ("VM.Audit", "VM.Allocate")), ("looks", ("VM.Audit",)))


def make(*rules: tuple[str, str, str]) -> access.Access:
    tokens = (
        TokenOptions(user="a@pve", name="own", secret="x"),
        TokenOptions(user="a@pve", name="same", secret="y", privilege_separated=False),
    )
    acl = tuple(AclOptions(path=path, who=who, role=role) for path, who, role in rules)
    return access.Access(AccessOptions(roles=ROLES, tokens=tokens, acl=acl), "secret")


def test_root_has_every_privilege_everywhere() -> None:
    assert make().rights("root@pam", "/vms/100").keys() == privileges.EVERY


def test_rights_are_inherited_below_their_path() -> None:
    known = make(("/vms", "a@pve", "guests"))

    assert known.may("a@pve", "/vms/100", "VM.Allocate", "VM.Audit")
    assert not known.may("a@pve", "/storage/local", "VM.Audit")


def test_a_rule_further_down_replaces_the_inherited_one() -> None:
    known = make(("/vms", "a@pve", "guests"), ("/vms/100", "a@pve", "looks"))

    assert set(known.rights("a@pve", "/vms/100")) == {"VM.Audit"}


def test_no_access_takes_everything_away() -> None:
    known = make(("/", "a@pve", "guests"), ("/vms/100", "a@pve", "NoAccess"))

    assert known.rights("a@pve", "/vms/100") == {}


def test_a_separated_token_has_what_both_it_and_its_user_have() -> None:
    known = make(("/vms", "a@pve", "looks"), ("/vms", "a@pve!own", "guests"))

    assert set(known.rights("a@pve!own", "/vms/100")) == {"VM.Audit"}
    assert known.rights("a@pve!same", "/vms/100") == known.rights("a@pve", "/vms/100")


def test_a_separated_token_without_rules_has_nothing() -> None:
    assert make(("/", "a@pve", "guests")).rights("a@pve!own", "/vms/100") == {}


def test_rights_on_a_pool_reach_its_guests() -> None:
    known = make(("/pool/p", "a@pve", "guests"))
    known.pools["p"] = access.Pool(guests={100})

    assert known.may("a@pve", "/vms/100", "VM.Allocate")
    assert not known.may("a@pve", "/vms/101", "VM.Allocate")


def test_the_first_missing_privilege_is_named() -> None:
    with pytest.raises(errors.PermissionDenied) as refused:
        make().require("a@pve", "/vms/100", "VM.Audit", "VM.Allocate")

    assert refused.value.text == "Permission check failed (/vms/100, VM.Audit)"


def test_all_wanted_are_named_where_one_would_do() -> None:
    with pytest.raises(errors.PermissionDenied) as refused:
        make().require_any("a@pve", "/x", "A", "B")

    assert refused.value.text == "Permission check failed (/x, A|B)"


def test_capabilities_are_summed_by_area() -> None:
    found = make(("/", "a@pve", "guests")).capabilities("a@pve")

    assert found["vms"] == {"VM.Audit": 1, "VM.Allocate": 1}
    assert found["storage"] == {}


def test_rules_of_what_is_gone_are_forgotten() -> None:
    known = make(("/vms/100", "a@pve", "guests"))

    known.forget_path("/vms/100")

    assert known.rights("a@pve", "/vms/100") == {}


def test_no_secret_shows() -> None:
    known = make()

    assert "secret" not in repr(known.users["root@pam"])
    assert "'x'" not in repr(known.users["a@pve"].tokens)
