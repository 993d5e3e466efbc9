"""Every recorded answer gives its data, or the error class for its text."""

import re

import pytest
from tests.support import recordings, scripted_server
from tests.support.recordings import Recording

from pve402.proxmox import errors
from pve402.proxmox.client import ProxmoxClient

#: Recorded refusals of status 400 and 500, told apart by hand.
CLASS_BY_MESSAGE = {
    r"(unable to create CT \d+ - )?CT \d+ already exists on node '\w+'": errors.GuestExists,
    r"VM \d+ already exists": errors.GuestExists,
    r"CT \d+ already running": errors.GuestRunning,
    r"unable to destroy CT \d+ - container is running": errors.GuestRunning,
    r"(CT|VM) \d+ not running": errors.GuestNotRunning,
    r"CT is locked \(\w+\)": errors.GuestLocked,
    r"can't lock file '[^']+' - got timeout": errors.GuestLocked,
    r"can't remove CT \d+ - protection mode enabled": errors.GuestProtected,
    r"Configuration file 'nodes/\w+/lxc/\d+\.conf' does not exist": errors.GuestMissing,
    r"hostname lookup '\w+' failed - .*": errors.NodeUnknown,
    r"storage '\w+' does not exist": errors.StorageMissing,
    r"No such storage\.": errors.StorageMissing,
    r"volume '[^']+' does not exist": errors.VolumeMissing,
    r"bridge '\w+' does not exist": errors.BridgeMissing,
    r"detected modified configuration - file changed by other user\? Try again\.": (
        errors.ConfigChanged
    ),
    r"no such task": errors.TaskMissing,
}
CLASS_BY_STATUS = {
    400: errors.InvalidParameters,
    401: errors.AuthenticationFailed,
    403: errors.PermissionDenied,
    500: errors.ProxmoxFault,
    501: errors.CallNotSupported,
    506: errors.ProxmoxFault,
    301: errors.UnexpectedAnswer,
}
ANSWERED = [r for r in recordings.load() if r.status is not None and r.status != 101]
SUCCEEDED = [r for r in ANSWERED if r.status == 200 and isinstance(r.body, dict)]
REFUSED = [r for r in ANSWERED if r.status != 200 and r.method != "HEAD"]


def expected_class(recording: Recording) -> type[errors.ProxmoxError]:
    texts = [recording.message] if recording.status == 500 else []
    if recording.status == 400:
        texts = [text.strip() for text in recording.body.get("errors", {}).values()]
    for text in texts:
        for pattern, error in CLASS_BY_MESSAGE.items():
            if re.fullmatch(pattern, text):
                return error
    assert recording.status is not None
    return CLASS_BY_STATUS[recording.status]


def replay(recording: Recording) -> bytes:
    kept = ("Content-Type", "Connection")
    headers = {name: text for name, text in recording.headers.items() if name in kept}
    assert recording.status is not None
    return scripted_server.answer(recording.status, recording.reason, recording.raw_body, headers)


@pytest.mark.parametrize("recording", SUCCEEDED, ids=lambda recording: recording.name)
async def test_a_recorded_success_gives_its_data(
    recording: Recording, server: scripted_server.ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [replay(recording)]

    reply = await client.request(recording.method, recording.path, recording.params)

    assert reply.data == recording.data
    assert reply.total == recording.body.get("total")
    assert server.requests[0].path == recordings.API_ROOT + recording.path


@pytest.mark.parametrize("recording", REFUSED, ids=lambda recording: recording.name)
async def test_a_recorded_refusal_gives_its_class(
    recording: Recording, server: scripted_server.ScriptedServer, client: ProxmoxClient
) -> None:
    server.script = [replay(recording)]

    with pytest.raises(errors.ProxmoxError) as caught:
        await client.request(recording.method, recording.path, recording.params)

    assert type(caught.value) is expected_class(recording)
    assert caught.value.status == recording.status
    assert caught.value.call == f"{recording.method} {recording.path}"


def test_the_recordings_hold_every_class_that_a_call_can_meet() -> None:
    met = {expected_class(recording) for recording in REFUSED}

    assert met >= {*CLASS_BY_STATUS.values(), errors.GuestExists, errors.GuestLocked}
    assert met >= {errors.GuestMissing, errors.GuestRunning, errors.GuestNotRunning}
    assert met >= {errors.GuestProtected, errors.NodeUnknown, errors.StorageMissing}
    assert met >= {errors.BridgeMissing, errors.ConfigChanged, errors.TaskMissing}
