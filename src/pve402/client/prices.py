"""What a quote asks for in USD, as it is charged."""

from decimal import Decimal
from typing import Final

from pve402 import schemas
from pve402.client import errors

_DEAREST_DIGITS: Final = 30
_MOST_DECIMALS: Final = 30


def offered_usd(priced: schemas.Quote) -> Decimal:
    """Return the highest offer in USD, as charged, in whole atomic units.

    Raises UnexpectedAnswer if an offer's amount or decimals are invalid.
    """
    return max((_usd(offer) for offer in priced.accepts), default=Decimal(0))


def _usd(offer: schemas.Offer) -> Decimal:
    digits = offer.amount
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DEAREST_DIGITS):
        raise errors.UnexpectedAnswer("the price in the service's quote is not a number")
    if not 0 <= offer.decimals <= _MOST_DECIMALS:
        raise errors.UnexpectedAnswer("the decimals in the service's quote are not valid")
    return Decimal(digits).scaleb(-offer.decimals)
