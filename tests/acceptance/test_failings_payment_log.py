"""A signed payment is money until it is settled, so no log line contains one."""

from collections.abc import Callable

import requests
from tests.support import wallets
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess


def test_no_part_of_a_signed_payment_is_logged(serve: Callable[..., ServeProcess]):
    service = serve(PVE402_LOG_LEVEL="debug")
    secrets = []
    for change in ({}, {"hostname": "second"}):
        body = {**BODY, **change}
        url = f"{service.url}/lease/container"
        unpaid = requests.post(url, json=body, timeout=30)
        signed = wallets.payment_headers(service.devnet.wallet(), wallets.of(unpaid))
        header = signed["PAYMENT-SIGNATURE"]
        answer = requests.post(url, json=body, headers=signed, timeout=60).json()
        requests.post(url, json={**body, "cores": 2}, headers=signed, timeout=60)
        secrets += [header, wallets.decoded(header)["payload"]["signature"][2:]]
        secrets += [answer["accessToken"], BODY["password"]]
    service.process.end()

    log = service.process.said()

    assert "listening" in log
    assert [secret for secret in secrets if secret in log] == []
