"""Words of x402: wire protocol, local checks, facilitators, settlement, wallet identity."""
