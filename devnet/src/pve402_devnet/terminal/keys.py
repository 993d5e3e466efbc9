"""What a key of RFB means to a terminal: X11 keysyms in, bytes out."""

_SPECIAL = {
    0xFF08: b"\x7f",  # BackSpace
    0xFF09: b"\t",
    0xFF0D: b"\r",
    0xFF1B: b"\x1b",
    0xFF50: b"\x1b[H",  # Home
    0xFF51: b"\x1b[D",  # Left
    0xFF52: b"\x1b[A",  # Up
    0xFF53: b"\x1b[C",  # Right
    0xFF54: b"\x1b[B",  # Down
    0xFF55: b"\x1b[5~",  # Page_Up
    0xFF56: b"\x1b[6~",  # Page_Down
    0xFF57: b"\x1b[F",  # End
    0xFF63: b"\x1b[2~",  # Insert
    0xFF8D: b"\r",  # KP_Enter
    0xFFFF: b"\x1b[3~",  # Delete
}
_CONTROL_KEYS = (0xFFE3, 0xFFE4)
_ALT_KEYS = (0xFFE9, 0xFFEA)
_UNICODE = 0x0100_0000


class Keyboard:
    """Remembers Control and Alt; Shift is in the keysyms already."""

    def __init__(self) -> None:
        self._control: set[int] = set()
        self._alt: set[int] = set()

    def press(self, keysym: int, *, down: bool) -> bytes:
        """Return what is typed by this event; often nothing."""
        for keys, held in ((_CONTROL_KEYS, self._control), (_ALT_KEYS, self._alt)):
            if keysym in keys:
                held.add(keysym) if down else held.discard(keysym)
                return b""
        typed = self._typed(keysym) if down else b""
        return b"\x1b" + typed if typed and self._alt else typed

    def _typed(self, keysym: int) -> bytes:
        if keysym in _SPECIAL:
            return _SPECIAL[keysym]
        code = keysym - _UNICODE if keysym >= _UNICODE else keysym
        if not (0x20 <= code < 0x7F or 0xA0 <= code <= 0xFF or keysym >= _UNICODE):
            return b""
        if self._control and 0x40 <= code < 0x7F:
            return bytes([code & 0x1F])
        return _encode(code)


def _encode(code: int) -> bytes:
    try:
        return chr(code).encode()
    except (ValueError, UnicodeEncodeError):
        return b""
