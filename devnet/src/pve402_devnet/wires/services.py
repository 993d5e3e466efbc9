"""Who answers on the wires besides guests: the node with its API and SSH, and the internet.

Everybody who connects is accepted and hung up on: what arrives is the point, not what is said. Both
answer for names below `.test`: all are the machine outside.

Run in a bare interpreter: `python -I -S -c BOOT <source directory> node|outside`.
"""

import socket
import sys
import threading

TOP_LEVEL = b"\x04test\x00"
NODE_PORTS, OUTSIDE_PORTS = (22, 8006), (25, 80, 443)
OUTSIDE_ADDRESS = "203.0.113.9"
_NAMES_PORT = 53
_ANSWER, _NO_SUCH_NAME = 0x8180, 0x8183
_A, _INTERNET = b"\x00\x01", b"\x00\x01"
_TTL_SECONDS = 60
_HEADER_BYTES = 12


def main(words: list[str]) -> int:
    """Serve until killed."""
    is_node = words == ["node"]
    for port in NODE_PORTS if is_node else OUTSIDE_PORTS:
        server = socket.create_server(("", port))
        threading.Thread(target=_hang_up, args=(server,), daemon=True).start()
    _answer_names()
    return 0


def answer(question: bytes) -> bytes:
    """Return the answer to a question of one name; empty for what is no question."""
    end = question.find(b"\0", _HEADER_BYTES) + 1
    if end <= _HEADER_BYTES or len(question) < end + 4:
        return b""
    name, kind = question[_HEADER_BYTES:end], question[end : end + 2]
    known = name.lower().endswith(TOP_LEVEL)
    found = known and kind == _A
    flags = _ANSWER if known else _NO_SUCH_NAME
    counts = (1, int(found), 0, 0)
    head = question[:2] + b"".join(number.to_bytes(2, "big") for number in (flags, *counts))
    record = b"\xc0\x0c" + _A + _INTERNET + _TTL_SECONDS.to_bytes(4, "big") + b"\x00\x04"
    address = socket.inet_aton(OUTSIDE_ADDRESS)
    return head + question[_HEADER_BYTES : end + 4] + (record + address if found else b"")


def _answer_names() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("", _NAMES_PORT))
        while True:
            question, sender = server.recvfrom(512)
            said = answer(question)
            if said:
                try:
                    server.sendto(said, sender)
                except OSError:  # the filters of the node
                    continue


def _hang_up(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
