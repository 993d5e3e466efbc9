"""Translates between domain values and the wire format of requests and answers."""
