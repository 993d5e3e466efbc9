"""Bearer tokens for Coinbase's facilitator."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from tests.support.payments import NOW

from pve402.payments.facilitators.cdp import CdpAuth, CdpKey

URL = "https://api.cdp.coinbase.com/platform/v2/x402/verify"
PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _parts(value: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    scheme, token = value.split(" ")
    assert scheme == "Bearer"
    head, claims, signature = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")
    )
    return json.loads(head), json.loads(claims), signature, token.rpartition(".")[0].encode()


def _header(secret: str, method: str = "POST") -> str:
    auth = CdpAuth(CdpKey(key_id="key-1", secret=secret), now_seconds=lambda: NOW + 0.9)
    return auth.header(method, URL)


def test_an_ed25519_key_signs_the_claims_coinbase_asks_for() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    raw = key.private_bytes_raw() + key.public_key().public_bytes_raw()

    head, claims, signature, signed = _parts(_header(base64.b64encode(raw).decode()))

    key.public_key().verify(signature, signed)
    assert (head["alg"], head["kid"], head["typ"]) == ("EdDSA", "key-1", "JWT")
    assert claims == {
        "sub": "key-1",
        "iss": "cdp",
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 120,
        "uris": ["POST api.cdp.coinbase.com/platform/v2/x402/verify"],
    }


@pytest.mark.parametrize("newline", ["\n", "\\n"])
def test_a_pem_key_signs_too_even_written_on_one_line(newline: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(*PEM).decode().replace("\n", newline)

    head, _claims, signature, signed = _parts(_header(pem))

    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    der = utils.encode_dss_signature(r, s)
    key.public_key().verify(der, signed, ec.ECDSA(hashes.SHA256()))
    assert (head["alg"], len(signature)) == ("ES256", 64)


def test_every_token_has_its_own_nonce() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    secret = base64.b64encode(key.private_bytes_raw() * 2).decode()

    assert _parts(_header(secret))[0]["nonce"] != _parts(_header(secret))[0]["nonce"]


RSA_PEM = rsa.generate_private_key(65537, 2048).private_bytes(*PEM).decode()
P384_PEM = ec.generate_private_key(ec.SECP384R1()).private_bytes(*PEM).decode()


@pytest.mark.parametrize(
    "secret", ["", "hunter2!", "aHVudGVyMg==", "-----BEGIN hunter2", RSA_PEM, P384_PEM]
)
def test_another_kind_of_key_is_refused_without_being_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="CDP") as caught:
        _header(secret)

    assert "hunter2" not in str(caught.value)


def test_the_secret_is_in_no_repr() -> None:
    assert "hunter2" not in repr(CdpKey(key_id="k", secret="hunter2"))
