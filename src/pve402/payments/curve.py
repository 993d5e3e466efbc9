"""Signatures on secp256k1: who made one, and making one.

By coincurve, which wraps the C library, in some 0.05 ms. Where it has no wheels (Python 3.14 so
far) by OpenSSL and plain Python, which give the same bytes in some 6 ms.
"""

try:
    from pve402.payments.curve_native import Key, recover
except ModuleNotFoundError:
    from pve402.payments.curve_plain import (  # type: ignore[assignment]
        Key,
        recover,
    )

__all__ = ["Key", "recover"]
