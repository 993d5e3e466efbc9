"""Websockets of commands and consoles."""
