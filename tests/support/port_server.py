"""A server for a container's loopback that shows what it gets, and can misbehave.

It runs in the container, with the container's own Python, so it imports nothing else. Its only
argument is the port. The first word of the path says what it does.
"""

import asyncio
import base64
import hashlib
import json
import sys

#: The methods of requests for /note.
NOTED: list[str] = []
NEXT = asyncio.Semaphore(0)
CHUNK = b"0123456789abcdef" * 4096
REDIRECTS = {
    "own": "/echo/after",
    "own-absolute": "http://localhost:{port}/echo/after",
    "loopback": "http://127.0.0.1:{query}/healthz",
    "elsewhere": "https://evil.example/steal",
    "scheme-relative": "//evil.example/steal",
    "backslash": "/\\evil.example/steal",
}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests on one connection until it ends."""
    try:
        while await answer(reader, writer):
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Answer one request; whether another may follow."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head[:-4].split("\r\n")
    method, target, _version = lines[0].split(" ")
    headers = [line.split(": ", 1) for line in lines[1:]]
    low = {name.lower(): value for name, value in headers}
    word, query = target.lstrip("/").partition("?")[0].split("/")[0], target.partition("?")[2]
    if "websocket" in low.get("upgrade", ""):
        return await websocket(reader, writer, low, word)
    if word == "deaf":
        await asyncio.sleep(3600)
    if word == "early":
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        return False
    if word == "note":
        NOTED.append(method)
    body = await read_body(reader, low)
    seen = {"line": lines[0], "headers": headers, "size": len(body)}
    seen["sha256"] = hashlib.sha256(body).hexdigest()
    return await act(word, query, json.dumps(seen).encode(), writer, method)


async def read_body(reader: asyncio.StreamReader, headers: dict) -> bytes:
    """The body of a request."""
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int((await reader.readline()).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


async def act(word, query, seen, writer, method) -> bool:
    """Do what the path says; whether another request may follow."""
    if word in PLAIN:
        writer.write(PLAIN[word])
        return word not in LAST
    if word == "cookies":
        length = f"Content-Length: {len(seen)}\r\n\r\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\n" + COOKIES + FAR_REACHING + length + seen)
    elif word == "noted":
        told = json.dumps(NOTED).encode()
        writer.write(OK + f"Content-Length: {len(told)}\r\n\r\n".encode() + told)
    elif word in ACTS:
        await ACTS[word](query, writer)
    else:
        head = f"Content-Type: application/json\r\nContent-Length: {len(seen)}\r\n\r\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + (b"" if method == "HEAD" else seen))
    return True


COOKIES = (
    b"Set-Cookie: wide=1; Path=/; Domain=.ports.localhost; HttpOnly\r\n"
    b"Set-Cookie: own=2; path=/\r\n"
    b"Set-Cookie: pve402-login=stolen; Path=/\r\n"
)
FAR_REACHING = (
    b'Clear-Site-Data: "cookies"\r\nAlt-Svc: h3=":443"\r\nService-Worker-Allowed: /\r\n'
    b"Pve402-Anything: x\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Kept: 1\r\n"
    b"Cache-Control: public, max-age=60\r\nAccess-Control-Allow-Origin: *\r\n"
    b"Content-Security-Policy: default-src *\r\n"
)
OK = b"HTTP/1.1 200 OK\r\n"
#: Its title becomes what comes back over a websocket.
PAGE = b"""<!doctype html><html lang="en"><title>no socket yet</title><h1>An application</h1>
<script>const socket = new WebSocket(`ws://${location.host}/socket`);
socket.onopen = () => socket.send('it came back');
socket.onmessage = message => { document.title = message.data; };</script></html>"""
HTML = b"Content-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(PAGE)
PLAIN = {
    "page": OK + HTML + PAGE,
    "cut": OK + b"Content-Length: 100\r\n\r\nhalf",
    "garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "flood": OK + b"X-Flood: %b\r\n" % (b"y" * 1000) * 400 + b"\r\n",
    "split": OK + b"X-A: a\x01b\r\nContent-Length: 2\r\n\r\nok",
    "both": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    # the second answer is one that nobody asked for
    "extra": OK + b"Content-Length: 2\r\n\r\nok" + OK + b"Content-Length: 6\r\n\r\npoison",
    "unchanged": b'HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: "a"\r\n\r\n',
    "odd": b"HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n",
    "missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
}
LAST = ("cut", "garbage", "flood", "both")


async def redirect(query, writer) -> None:
    """Lead somewhere else."""
    kind, _, rest = query.partition(":")
    place = REDIRECTS[kind].format(port=sys.argv[1], query=rest)
    writer.write(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\n".encode())
    writer.write(b"Content-Length: 0\r\n\r\n")


async def events(query, writer) -> None:
    """Some events, each after the first once somebody asks for the next."""
    writer.write(OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(int(query)):
        if number:
            await NEXT.acquire()
        data = f"data: {number}\n\n".encode()
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def next_event(_query, writer) -> None:
    """Let one more event be sent."""
    NEXT.release()
    writer.write(OK + b"Content-Length: 0\r\n\r\n")


async def endless(_query, writer) -> None:
    """An answer without an end."""
    writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
        await writer.drain()


async def big(query, writer) -> None:
    """An answer of a size."""
    size = int(query)
    writer.write(OK + f"Content-Length: {size}\r\n\r\n".encode())
    for start in range(0, size, len(CHUNK)):
        writer.write(CHUNK[: size - start])
        await writer.drain()


ACTS = {
    "redirect": redirect,
    "events": events,
    "next": next_event,
    "endless": endless,
    "big": big,
}


async def websocket(reader, writer, headers, word) -> bool:
    """A websocket that sends back what it gets, or what it saw first."""
    if word == "no-socket":
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope")
        return False
    magic = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(magic.encode()).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n")
    writer.write(b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n")
    if "sec-websocket-protocol" in headers:
        chosen = headers["sec-websocket-protocol"].split(",")[0].encode()
        writer.write(b"Sec-WebSocket-Protocol: " + chosen + b"\r\n")
    writer.write(b"Set-Cookie: seen=1; Domain=ports.localhost\r\n\r\n")
    if word == "seen":
        text = json.dumps(headers).encode()
        writer.write(b"\x81" + size_of(text) + text)
    while True:
        first, second = await reader.readexactly(2)
        size = second & 127
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await reader.readexactly(8), "big")
        mask = await reader.readexactly(4)
        data = await reader.readexactly(size)
        data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        if first & 15 == 8:
            writer.write(bytes([0x88]) + size_of(data) + data)
            await writer.drain()
            return False
        if data == b"close 4321":
            told = (4321).to_bytes(2, "big") + b"bye"
            writer.write(bytes([0x88]) + size_of(told) + told)
        elif first & 15 in (1, 2):
            writer.write(bytes([first]) + size_of(data) + data)
        await writer.drain()


def size_of(data: bytes) -> bytes:
    """The size in a frame's head."""
    if len(data) < 126:
        return bytes([len(data)])
    if len(data) < 65536:
        return b"\x7e" + len(data).to_bytes(2, "big")
    return b"\x7f" + len(data).to_bytes(8, "big")


async def main() -> None:
    """Serve for ever."""
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=2**20)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
