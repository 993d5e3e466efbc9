"""Simulated LXC guests: real process trees in their own namespaces, with no rights outside them.

This package file imports nothing: the first process of a guest loads it in a bare interpreter.
"""
