"""Payment schemes of x402, one folder each."""
