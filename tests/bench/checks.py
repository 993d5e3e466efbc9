"""What is known of a payment without asking anybody, beside the SDK's verification in process."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from tests.bench import rows
from tests.support import payments, processes

from pve402.payments import judgement, protocol
from pve402.payments.schemes.base import Limits
from pve402_devnet.facilitator.core import Core
from pve402_devnet.facilitator.node import HttpNode
from pve402_devnet.facilitator.signer import NodeSigner

ROUNDS = 5
PAY_TO = "0x209693bc6afc0c5328ba36faf03c514ef312287c"


def measure(devnet: processes.DevnetProcess) -> list[rows.Row]:
    """One row: the SDK asks the chain for what it cannot know, we leave that to the facilitator."""
    terms = payments.requirements(amount_atomic=1_000, pay_to=PAY_TO, max_timeout_seconds=600)
    until = int(time.time()) + 600
    paid = payments.payment(key=devnet.wallet(), terms=terms, valid_before=until)
    header = {protocol.V2_HEADER: payments.encode(payments.document(paid, terms))}
    limits = Limits(min_remaining_seconds=30)

    def ours() -> None:
        judged = judgement.judge((terms,), header, now_seconds=until - 500, limits=limits)
        assert judged.too_late is None

    core = _sdk(devnet)
    question = _question(payments.document(paid, terms))

    def sdk() -> None:
        answer = core.verify(question)
        assert answer["isValid"], answer

    taken = [(_seconds(ours, 400), _seconds(sdk, 20)) for _ in range(ROUNDS)]
    core.close()
    mine, its = median(a for a, _ in taken), median(b for _, b in taken)
    return [
        rows.Row(
            what="local check of a payment, header to verdict",
            ours=f"{mine * 1e6:.0f} us",
            beside="the SDK's in-process verify, devnet chain",
            peer=f"{its * 1e3:.1f} ms",
            ratio=f"{median(b / a for a, b in taken):.0f}",
            aim="20",
        )
    ]


def _sdk(devnet: processes.DevnetProcess) -> Core:
    signer = NodeSigner(
        call_node=HttpNode(devnet.settings["RPC_URL"]),
        private_key="0x" + "11" * 32,
        receipt_timeout_seconds=5,
    )
    return Core(signer=signer, network="eip155:84532", network_v1="base-sepolia", factories=())


def _question(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "x402Version": 2,
        "paymentPayload": document,
        "paymentRequirements": document["accepted"],
    }


def _seconds(action: Callable[[], None], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - began) / times
