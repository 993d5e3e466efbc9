# What VS Code's remote part does: a script on the stdin of `ssh -T -D PORT host bash` starts a server
# on a port of loopback unless one runs, tells its port, and stays. The server outlives it.
d=$HOME/.left-server
mkdir -p "$d"
if ! [ -s "$d/port" ] || ! kill -0 "$(cat "$d/pid")" 2>/dev/null; then
  rm -f "$d/port"
  cat >"$d/server.py" <<'PY'
import base64, hashlib, os, pathlib, socketserver
d = pathlib.Path.home() / ".left-server"
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while head := self.rfile.readline():
            fields = {}
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                fields[name.lower()] = value.strip()
            if b"sec-websocket-key" in fields:
                return self.echo(fields[b"sec-websocket-key"])
            body = b"server %d answers %s" % (os.getpid(), head.split()[1])
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    def echo(self, key):
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                         b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        while (head := self.rfile.read(2)) and head[0] & 15 in (1, 2):
            size = head[1] & 127
            if size == 126:
                size = int.from_bytes(self.rfile.read(2), "big")
            mask, data = self.rfile.read(4), self.rfile.read(size)
            plain = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
            length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
            self.wfile.write(head[:1] + length + plain)
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
with Server(("127.0.0.1", 0), Handler) as server:
    (d / "pid").write_text(str(os.getpid()))
    (d / "new").write_text(str(server.server_address[1]))
    (d / "new").rename(d / "port")
    server.serve_forever()
PY
  nohup python3 "$d/server.py" >"$d/log" 2>&1 </dev/null &
  n=0
  while ! [ -s "$d/port" ]; do
    n=$((n + 1))
    [ "$n" -lt 300 ] || exit 1
    sleep 0.1
  done
fi
echo "listening on $(cat "$d/port") as $(cat "$d/pid")"
sleep 1000
