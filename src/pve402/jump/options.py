"""Limits of the jump host, and the algorithms that it speaks."""

from dataclasses import dataclass
from typing import Final

# Without SHA-1, finite fields and curves of NIST. ML-KEM is hybrid: either half alone suffices.
KEX: Final = ("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org")
CIPHERS: Final = (
    *("chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com"),
    *("aes256-ctr", "aes128-ctr"),
)
MACS: Final = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
SIGNATURES: Final = (
    *("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
    *("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)


@dataclass(frozen=True, kw_only=True)
class JumpOptions:
    """What strangers, clients and leases may use of one process; times in seconds.

    connections: open at once; strangers: those of them that have not logged in.
    strangers_per_party: the same for one address, or one /64 of IPv6.
    per_lease: connections of one lease.
    channels: connections to the guest that one connection may carry.
    burst, per_second: new connections of one party; `all_` for everybody together.
    free_failures: connections without a login, before the party has to wait for the next one.
    longest_pause: the most that it then waits; one failure is forgotten in each of these times.
    login_seconds: from the connection to the login; login_bytes: received until then.
    tries: refused keys on one connection.
    answer_seconds: when the first refusal comes, whatever it was that had to be looked up.
    lookup_seconds, open_seconds: limits for reading the keys, and for starting the guest's sshd.
    recheck_seconds: how often we look whether the key of an open connection is still in the guest.
    unread_seconds: how long one stays open while the guest cannot be asked for its keys.
    keepalive_seconds, keepalives: a client that leaves so many unanswered is gone.
    """

    connections: int = 1000
    strangers: int = 128
    strangers_per_party: int = 16
    per_lease: int = 16
    channels: int = 4
    burst: int = 60
    per_second: float = 3.0
    all_burst: int = 300
    all_per_second: float = 60.0
    free_failures: int = 10
    longest_pause: float = 300.0
    login_seconds: float = 20.0
    login_bytes: int = 64 * 1024
    tries: int = 6
    answer_seconds: float = 2.0
    lookup_seconds: float = 10.0
    open_seconds: float = 30.0
    recheck_seconds: float = 5.0
    unread_seconds: float = 120.0
    keepalive_seconds: float = 60.0
    keepalives: int = 5
