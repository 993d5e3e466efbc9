"""Payment schemes of x402, a folder each."""
