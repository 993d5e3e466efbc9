"""The services that rules may name, each with the protocols and destination ports it stands for.

Those of Proxmox VE that stand for destination ports alone; GRE tunnels and the like are left out.
"""

from collections.abc import Mapping

Traffic = tuple[str, str]
"""Protocol and destination ports, which are empty for ICMP; of ICMP the port is the type."""

PING = "Ping"


def _both(ports: str) -> tuple[Traffic, ...]:
    return (("udp", ports), ("tcp", ports))


def _tcp(ports: str) -> tuple[Traffic, ...]:
    return (("tcp", ports),)


def _udp(ports: str) -> tuple[Traffic, ...]:
    return (("udp", ports),)


MACROS: Mapping[str, tuple[Traffic, ...]] = {
    "BGP": _tcp("179"),
    "BitTorrent": (("tcp", "6881:6889"), ("udp", "6881")),
    "Ceph": (*_tcp("6789"), *_tcp("3300"), *_tcp("6800:7300")),
    "CVS": _tcp("2401"),
    "DHCPfwd": _udp("67:68"),
    "DHCPv6": _udp("546:547"),
    "DNS": _both("53"),
    "Finger": _tcp("79"),
    "FTP": _tcp("21"),
    "Git": _tcp("9418"),
    "HKP": _tcp("11371"),
    "HTTP": _tcp("80"),
    "HTTPS": _tcp("443"),
    "IMAP": _tcp("143"),
    "IMAPS": _tcp("993"),
    "IPsec": (("udp", "500"), ("esp", "")),
    "IRC": _tcp("6667"),
    "Jetdirect": _tcp("9100"),
    "LDAP": _tcp("389"),
    "LDAPS": _tcp("636"),
    "Mail": (*_tcp("25"), *_tcp("465"), *_tcp("587")),
    "MDNS": _udp("5353"),
    "MSSQL": _tcp("1433"),
    "MySQL": _tcp("3306"),
    "NNTP": _tcp("119"),
    "NNTPS": _tcp("563"),
    "NTP": _udp("123"),
    "OpenVPN": _udp("1194"),
    "PBS": _tcp("8007"),
    PING: (("icmp", "echo-request"),),
    "PMG": _tcp("8006"),
    "POP3": _tcp("110"),
    "POP3S": _tcp("995"),
    "PostgreSQL": _tcp("5432"),
    "Printer": _tcp("515"),
    "Proxmox": (*_tcp("8006"), *_tcp("5900:5999"), *_tcp("3128"), *_tcp("22")),
    "Puppet": _tcp("8140"),
    "RDP": _both("3389"),
    "Rsync": _tcp("873"),
    "SANE": _tcp("6566"),
    "SMB": (*_udp("135,445"), *_udp("137:139"), *_tcp("135,139,445")),
    "SMTP": _tcp("25"),
    "SMTPS": _tcp("465"),
    "SNMP": (*_udp("161:162"), *_tcp("161")),
    "Squid": _tcp("3128"),
    "SSH": _tcp("22"),
    "Submission": _tcp("587"),
    "SVN": _tcp("3690"),
    "Syslog": _both("514"),
    "Telnet": _tcp("23"),
    "Telnets": _tcp("992"),
    "TFTP": _udp("69"),
    "Time": _tcp("37"),
    "Trcrt": (("udp", "33434:33524"), ("icmp", "echo-request")),
    "VNC": _tcp("5900:5999"),
    "Web": (*_tcp("80"), *_tcp("443")),
    "Webcache": _tcp("8080"),
    "Webmin": _tcp("10000"),
    "Whois": _tcp("43"),
}

_PREFERRED = {name.lower(): name for name in MACROS}


def preferred_name(name: str) -> str | None:
    """Find a macro whatever its case; None where there is none."""
    return _PREFERRED.get(name.lower())
