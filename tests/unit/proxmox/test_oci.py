"""References of OCI images, and what came of pulling some, as recorded."""

import re
from urllib.parse import parse_qs

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support import recordings, scripted_server
from tests.support.recordings import Recording
from tests.support.scripted_server import ScriptedServer

from pve402.domain.oci import Reference
from pve402.proxmox import errors, messages
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.storage import Storages

#: The official API schema's own pattern (PVE/API2/Storage/Status.pm).
OFFICIAL = re.compile(
    r"(?:(?:[a-zA-Z\d]|[a-zA-Z\d][a-zA-Z\d-]*[a-zA-Z\d])"
    r"(?:\.(?:[a-zA-Z\d]|[a-zA-Z\d][a-zA-Z\d-]*[a-zA-Z\d]))*(?::\d+)?/)?[a-z\d]+"
    r"(?:(?:[._]|__|[-]*)[a-z\d]+)*(?:/[a-z\d]+(?:(?:[._]|__|[-]*)[a-z\d]+)*)*:\w[\w.-]{0,127}"
)
PULLS = [
    one for one in recordings.load("recordings2.jsonl") if one.path.endswith("/oci-registry-pull")
]
REFUSED = {
    "oci-pull-token": errors.PermissionDenied,
    "oci-pull-only-allocatetemplate": errors.PermissionDenied,
    "oci-pull-only-accessnetwork": errors.PermissionDenied,
    "oci-pull-no-tag": errors.InvalidParameters,
    "oci-pull-digest": errors.InvalidParameters,
    "oci-pull-upper-case": errors.InvalidParameters,
    "oci-pull-scheme": errors.InvalidParameters,
    "oci-pull-existing": errors.FileExists,
    "oci-pull-unknown-host": errors.FileExists,
    "oci-pull-plain-http": errors.FileExists,
    "oci-pull-loopback": errors.FileExists,
    "oci-pull-closed-port": errors.FileExists,
    "oci-pull-ssrf-api": errors.FileExists,
    "oci-pull-wrong-storage": errors.StorageMissing,
}
FAILED = {
    "oci-pull-missing-tag": errors.ImageMissing,
    "oci-pull-private": errors.ImageRefused,
    "oci-pull-unknown-host-2": errors.RegistryUnreachable,
    "oci-pull-docker-hub-unreachable": errors.RegistryUnreachable,
    "oci-pull-plain-http-2": errors.RegistryUnreachable,
    "oci-pull-closed-port-2": errors.RegistryUnreachable,
    "oci-pull-ssrf-api-2": errors.RegistryUnreachable,
}
PYTHON = Reference.parse("docker.io/library/python:3.13-slim")
EXIT = "command 'skopeo copy docker://docker.io/a:1 oci-archive:/x.tar' failed: exit code {}"


@pytest.mark.parametrize(
    ("text", "host", "path", "tag"),
    [
        ("docker.io/library/python:3.13-slim", "docker.io", "library/python", "3.13-slim"),
        ("registry.test:5000/web:1", "registry.test:5000", "web", "1"),
        ("localhost/a/b/c__d-e.f:_X", "localhost", "a/b/c__d-e.f", "_X"),
        ("127.0.0.1:5000/web:v1", "127.0.0.1:5000", "web", "v1"),
    ],
)
def test_a_reference_is_read(text: str, host: str, path: str, tag: str) -> None:
    parsed = Reference.parse(text)

    assert (parsed.host, parsed.path, parsed.tag) == (host, path, tag)
    assert str(parsed) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("docker.io/library/python", "no tag"),
        ("https://docker.io/library/python:3", "scheme"),
        (f"docker.io/library/python@sha256:{'0' * 64}", "digest"),
        (f"docker.io/library/python:3@sha256:{'0' * 64}", "digest"),
        ("python:3.13", "no registry"),
        ("library/python:3.13", "no registry"),
        ("", "no registry"),
        ("docker.io/Library/python:3", "lower-case"),
        ("Docker.io/library/python:3", "lower-case"),
        ("docker.io/a//b:1", "lower-case"),
        ("docker.io/../b:1", "lower-case"),
        ("docker.io/a b:1", "lower-case"),
        ("docker.io/a:1\n", "a tag that is none"),
        ("docker.io/a:", "a tag that is none"),
        ("docker.io/a:1:2", "a tag that is none"),
        ("docker.io/a:" + "1" * 129, "a tag that is none"),
        ("docker.io/" + "a" * 300 + ":1", "255 characters"),
    ],
)
def test_other_references_are_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Reference.parse(text)


@given(st.from_regex(r"[a-z.:0-9-]{1,12}/[a-z0-9._/-]{1,12}:[A-Za-z0-9_.-]{1,12}", fullmatch=True))
@example("docker.io/library/python:3.13-slim")
def test_what_is_read_is_accepted_by_proxmox_under_our_file_name(text: str) -> None:
    try:
        parsed = Reference.parse(text)
    except ValueError:
        return

    assert OFFICIAL.fullmatch(str(parsed))
    assert re.fullmatch(r"oci-[a-zA-Z0-9_.-]{1,200}\.tar", parsed.file_name)


def test_images_of_several_registries_have_files_of_their_own() -> None:
    names = {
        Reference.parse(f"{host}/{path}:{tag}").file_name
        for host in ("docker.io", "quay.io")
        for path in ("a/web", "b/web")
        for tag in ("1", "2")
    }

    assert len(names) == 8
    assert PYTHON.file_name.startswith("oci-python_3.13-slim-")


async def test_a_pull_sends_the_reference_and_our_file_name(
    server: ScriptedServer, client: ProxmoxClient
) -> None:
    recorded = next(one for one in PULLS if one.name == "oci-pull")
    server.script = [scripted_server.answer(200, "OK", recorded.raw_body)]

    upid = await Storages(client).pull("pve", "local", PYTHON)

    (request,) = server.requests
    assert request.path == "/api2/json/nodes/pve/storage/local/oci-registry-pull"
    assert parse_qs(request.body) == {
        "reference": ["docker.io/library/python:3.13-slim"],
        "filename": [PYTHON.file_name.removesuffix(".tar")],
    }
    assert (upid.type, upid.id) == ("ociregistrypull", "web_1.tar")


@pytest.mark.parametrize("name", REFUSED)
async def test_a_recorded_refusal_has_its_class(
    name: str, server: ScriptedServer, client: ProxmoxClient
) -> None:
    recorded = next(one for one in PULLS if one.name == name)
    assert recorded.status is not None
    server.script = [scripted_server.answer(recorded.status, recorded.reason, recorded.raw_body)]

    with pytest.raises(errors.ProxmoxError) as told:
        await Storages(client).pull("pve", "local", PYTHON)

    assert type(told.value) is REFUSED[name]


@pytest.mark.parametrize("recorded", PULLS, ids=lambda recorded: recorded.name)
def test_a_recorded_failure_has_its_class(recorded: Recording) -> None:
    task = recorded.task
    if task is None or task["exitstatus"] == "OK":
        assert recorded.name not in FAILED
        return

    told = messages.classify_end(task["exitstatus"], task["log"], call="")

    assert type(told) is FAILED[recorded.name]
    assert told.subject == recorded.params["reference"]
    assert "skopeo" not in told.message


def test_every_recorded_pull_that_was_refused_is_listed() -> None:
    assert {one.name for one in PULLS if one.status != 200} == REFUSED.keys()


@pytest.mark.parametrize(
    ("log", "code", "error"),
    [
        ((), 2, errors.ImageMissing),
        ((), 1, errors.ProxmoxFault),
        (('level=fatal msg="toomanyrequests: later"',), 1, errors.RegistryUnreachable),
        (('level=fatal msg="x: \\"denied: no\\""',), 1, errors.ImageRefused),
        (('level=fatal msg="write: no space left on device"',), 1, errors.StorageFull),
        (('level=fatal msg="CT 100 already exists"',), 1, errors.ProxmoxFault),
        (("CT 100 already exists",), 1, errors.ProxmoxFault),
    ],
)
def test_a_pull_without_a_recording(
    log: tuple[str, ...], code: int, error: type[errors.ProxmoxError]
) -> None:
    assert type(messages.classify_end(EXIT.format(code), log, call="")) is error


def test_the_log_of_any_other_task_decides_nothing() -> None:
    told = messages.classify_end("broken", ['level=fatal msg="unauthorized"'], call="")

    assert type(told) is errors.ProxmoxFault
