"""Large files reach a container over its network, not through its terminal.

Through the terminal of a real host they come at 88 to 207 KB/s.
"""

import os
from collections.abc import Callable

import pytest
import requests
from tests.support import commands, tap
from tests.support.processes import DevnetProcess, ServeProcess

SIZE_BYTES = 2_000_000


@pytest.mark.xfail(strict=True, reason="uploads go through the terminal until guests pull them")
def test_a_large_upload_does_not_pass_through_the_terminal(
    devnet: DevnetProcess, serve: Callable[..., ServeProcess]
):
    with tap.on(devnet.settings["PVE_HOST"]) as line:
        container = commands.lease(serve(PVE_HOST=line.url))
        container.run(command="true")
        before = sum(map(len, line.sent))
        put = requests.put(
            container.files_url,
            params={"path": "/root/large"},
            data=os.urandom(SIZE_BYTES),
            headers=container.bearer,
            timeout=120,
        )
        passed = sum(map(len, line.sent)) - before

    assert put.status_code == 200, put.text
    assert passed < SIZE_BYTES / 10
