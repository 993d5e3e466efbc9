"""Makes a lease with the client that openapi-python-client generated.

usage: python lease.py URL [PAYMENT]
"""

import json
import sys

from generated import Client
from generated.api.catalogue import show_catalogue
from generated.api.lease import lease_container
from generated.models.catalogue_answer import CatalogueAnswer
from generated.models.lease_answer import LeaseAnswer
from generated.models.lease_request import LeaseRequest
from generated.models.payment_required import PaymentRequired
from generated.types import UNSET


def main(url: str, payment: str | None) -> None:
    client = Client(base_url=url)
    catalogue = show_catalogue.sync(client=client)
    assert isinstance(catalogue, CatalogueAnswer)
    asked = LeaseRequest(
        sku=catalogue.skus[0].sku,
        runtime_minutes=5,
        hostname="generated",
        password="a-good-password",
    )
    answer = lease_container.sync_detailed(
        client=client, body=asked, payment_signature=UNSET if payment is None else payment
    )
    said: dict[str, object] = {"status": int(answer.status_code)}
    if isinstance(answer.parsed, PaymentRequired):
        said["terms"] = answer.headers["PAYMENT-REQUIRED"]
    if isinstance(answer.parsed, LeaseAnswer):
        said["leaseId"] = answer.parsed.lease_id
        said["leaseStatus"] = answer.parsed.status
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
