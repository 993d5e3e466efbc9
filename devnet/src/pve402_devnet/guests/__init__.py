"""Simulated LXC guests: real process trees in namespaces of their own, without any rights outside.

This package file imports nothing: the first process of a guest loads it in a bare interpreter.
"""
