"""The scheme `exact`: a transfer of exactly the price, authorized by EIP-3009."""
