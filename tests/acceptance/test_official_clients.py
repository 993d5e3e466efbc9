"""Every official x402 client, as it comes, against a running service: a whole life of a lease."""

import secrets
from collections.abc import Iterator

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from tests.support import anvil, official_clients, processes, transactions
from tests.support.anvil import Anvil
from tests.support.api_fixtures import BODY
from tests.support.official_clients import Client
from tests.support.processes import DevnetProcess, ServeProcess

from pve402_devnet.chain import contracts

WHOLE_LIFE = (
    ("POST", "/lease/quote", BODY),
    ("POST", "/lease/container", BODY),
    ("POST", "/lease/{ctid}/renew", {"runtimeMinutes": 30}),
    ("POST", "/management/exec/{ctid}", {"command": "echo", "extraArgs": ["paid"]}),
    ("GET", "/management/list", None),
)
LEASE, RENEWAL, FEE = 21_800, 9_900, 1_000
NETWORKS = {1: "base-sepolia", 2: "eip155:84532"}


@pytest.mark.parametrize("client", official_clients.ALL, ids=lambda client: client.name)
def test_a_whole_life_of_a_lease_is_paid_for(service: ServeProcess, client: Client):
    account = service.devnet.wallet(100_000)

    lines = client.calls(service.url, account, WHOLE_LIFE)

    quoted, bought, renewed, said, listed = (line.answer for line in lines)
    assert [line.status for line in lines] == [200] * 5, lines
    assert int(quoted["accepts"][0]["amount"]) == LEASE
    assert bought["ownerWallet"] == account.address
    assert renewed["expiresAt"] > bought["expiresAt"]
    assert (said["exitCode"], said["output"]) == (0, "paid\n")
    assert [item["leaseId"] for item in listed] == [bought["leaseId"]]
    assert service.devnet.usdc(account.address) == 100_000 - LEASE - RENEWAL - 2 * FEE
    for line in lines[1:]:
        assert line.receipt is not None
        assert line.receipt["success"] is True
        assert line.receipt["network"] == NETWORKS[client.version]


def test_a_client_that_signs_in_pays_for_leases_and_nothing_else(service: ServeProcess):
    account = service.devnet.wallet(100_000)

    *_, renewed, said, listed = official_clients.SIGN_IN_AND_PAY.calls(
        service.url, account, WHOLE_LIFE
    )
    signed_in = official_clients.SIGN_IN.calls(service.url, account, [WHOLE_LIFE[-1]])
    stranger = official_clients.SIGN_IN.calls(
        service.url,
        service.devnet.wallet(0),
        [WHOLE_LIFE[-1], ("GET", f"/lease/{renewed.answer['leaseId']}", None)],
    )

    assert (said.answer["output"], said.receipt) == ("paid\n", None)
    for line in (listed, *signed_in):
        assert [item["leaseId"] for item in line.answer] == [renewed.answer["leaseId"]]
    assert [(line.status, line.answer) for line in stranger[:1]] == [(200, [])]
    assert stranger[1].status == 404
    assert service.devnet.usdc(account.address) == 100_000 - LEASE - RENEWAL


@pytest.mark.parametrize("client", [official_clients.FETCH, official_clients.LEGACY_FETCH])
def test_a_contract_wallet_pays_for_a_whole_life_of_a_lease(service: ServeProcess, client: Client):
    owner, contract = _contract_wallet(service.devnet)

    lines = client.calls(service.url, owner, WHOLE_LIFE, contract=contract)

    assert [line.status for line in lines] == [200] * 5, lines
    assert lines[1].answer["ownerWallet"] == contract
    assert [item["leaseId"] for item in lines[4].answer] == [lines[1].answer["leaseId"]]
    assert service.devnet.usdc(contract) == 100_000 - LEASE - RENEWAL - 2 * FEE


@pytest.fixture(scope="module")
def real_node() -> Iterator[Anvil]:
    """A real EVM node."""
    with anvil.running() as running:
        yield running


@pytest.fixture(scope="module")
def service_on_it(
    devnet: DevnetProcess, real_node: Anvil, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A service on that node, which settles with a key of its own."""
    gas_payer = Account.create()
    real_node.fund(gas_payer.address, eth=1)
    own = {"RPC_URL": real_node.url, "FACILITATOR_PRIVATE_KEY": gas_payer.key.to_0x_hex()}
    folder = tmp_path_factory.mktemp("real-node")
    with processes.serving(folder, devnet, without=["FACILITATOR_URL"], **own) as made:
        yield made


@pytest.mark.parametrize("client", official_clients.ALL, ids=lambda client: client.name)
def test_a_whole_life_is_paid_for_on_a_real_node_without_a_facilitator(
    service_on_it: ServeProcess, real_node: Anvil, client: Client
):
    account, pay_to = Account.create(), service_on_it.devnet.settings["PAY_TO"]
    real_node.fund(account.address, usdc_atomic=100_000)
    before = real_node.usdc_balance(pay_to)

    lines = client.calls(service_on_it.url, account, WHOLE_LIFE)

    assert [line.status for line in lines] == [200] * 5, lines
    earned = real_node.usdc_balance(pay_to) - before
    assert earned == 100_000 - real_node.usdc_balance(account.address) == LEASE + RENEWAL + 2 * FEE
    for line in lines[1:]:
        assert line.receipt is not None
        on_chain = real_node.rpc("eth_getTransactionReceipt", line.receipt["transaction"])
        assert int(on_chain["status"], 16) == 1


@pytest.mark.parametrize(
    ("client", "minutes"),
    [
        (official_clients.HTTPX, 5_000),
        (official_clients.REQUESTS, 5_000),
        (official_clients.FETCH, 5_000),
        (official_clients.LEGACY_HTTPX, 500),
        (official_clients.LEGACY_FETCH, 500),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_client_does_not_sign_more_than_its_cap(
    service: ServeProcess, client: Client, minutes: int
):
    account = service.devnet.wallet()

    with pytest.raises(AssertionError, match=r"(?i)exceed|cap|maximum"):
        client.calls(
            service.url,
            account,
            [("POST", "/lease/container", {**BODY, "runtimeMinutes": minutes})],
        )

    assert service.devnet.usdc(account.address) == 2_000_000


def _contract_wallet(devnet: DevnetProcess) -> tuple[LocalAccount, str]:
    """Deploy a contract wallet with money; its owner, and its address."""
    owner, salt = devnet.wallet(0), secrets.token_bytes(32)
    devnet.rpc("devnet_fundEth", owner.address, hex(10**18))
    factory = to_checksum_address(contracts.WALLET_FACTORY_ADDRESS)
    arguments = encode(["address", "bytes32"], [owner.address, salt])
    question = {"to": factory, "data": _call("walletAddress(address,bytes32)", arguments)}
    contract = "0x" + devnet.rpc("eth_call", question, "latest")[-40:]
    create = _call("createWallet(address,bytes32)", arguments)
    signed = transactions.raw(owner, to=factory, value=0, gas=2_000_000, data=create)
    devnet.rpc("eth_sendRawTransaction", signed)
    devnet.rpc("devnet_mintUsdc", contract, hex(100_000))
    return owner, str(to_checksum_address(contract))


def _call(signature: str, arguments: bytes) -> str:
    return "0x" + (keccak(text=signature)[:4] + arguments).hex()
