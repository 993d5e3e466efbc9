"""Texts that would steer a terminal, or show something else than they say."""

TEXTS = {
    "clear the screen": "a\x1b[2Jb",
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x1b\\",
    "eight-bit control": "\x9b31mred",
    "carriage return": "refused\rok, paid",
    "lines": "refused\n\npve402: all is well",
    "backwards": "\u202egnp.exe",
    "bells": "\a" * 40,
    "invisible": "a\u200b\u2066b",
    "half a character": "\ud800",
}
