"""The calls of the simulated API, by noun."""
