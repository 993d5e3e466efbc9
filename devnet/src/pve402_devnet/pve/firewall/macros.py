"""The services that rules may name, each with the protocols and destination ports it stands for.

Where Proxmox VE names source ports as well, any source port will do here.
"""

from collections.abc import Mapping

Traffic = tuple[str, str]
"""Protocol and destination ports, which other protocols lack; of ICMP the port is the type."""


def _both(ports: str) -> tuple[Traffic, ...]:
    return (("udp", ports), ("tcp", ports))


def _tcp(ports: str) -> tuple[Traffic, ...]:
    return (("tcp", ports),)


def _udp(ports: str) -> tuple[Traffic, ...]:
    return (("udp", ports),)


MACROS: Mapping[str, tuple[Traffic, ...]] = {
    "Amanda": _both("10080"),
    "Auth": _tcp("113"),
    "BGP": _tcp("179"),
    "BitTorrent": (("tcp", "6881:6889"), ("udp", "6881")),
    "BitTorrent32": (("tcp", "6881:6999"), ("udp", "6881")),
    "Ceph": (("tcp", "6789"), ("tcp", "3300"), ("tcp", "6800:7300")),
    "Citrix": (("tcp", "1494"), ("udp", "1604"), ("tcp", "2598")),
    "CVS": _tcp("2401"),
    "DAAP": _both("3689"),
    "DCC": _tcp("6277"),
    "DHCPfwd": _udp("67:68"),
    "DHCPv6": _udp("546:547"),
    "Distcc": _tcp("3632"),
    "DNS": _both("53"),
    "Finger": _tcp("79"),
    "FTP": _tcp("21"),
    "Git": _tcp("9418"),
    "GNUnet": (("udp", "2086"), ("tcp", "2086"), ("udp", "1080"), ("tcp", "1080")),
    "GRE": (("gre", ""),),
    "HKP": _tcp("11371"),
    "HTTP": _tcp("80"),
    "HTTPS": _tcp("443"),
    "ICPV2": _udp("3130"),
    "ICQ": _tcp("5190"),
    "IMAP": _tcp("143"),
    "IMAPS": _tcp("993"),
    "IPIP": (("94", ""),),
    "IPsec": (("udp", "500"), ("esp", "")),
    "IPsecah": (("udp", "500"), ("ah", "")),
    "IPsecnat": (("udp", "500"), ("udp", "4500"), ("esp", "")),
    "IRC": _tcp("6667"),
    "Jetdirect": _tcp("9100"),
    "L2TP": _udp("1701"),
    "LDAP": _tcp("389"),
    "LDAPS": _tcp("636"),
    "Mail": (("tcp", "25"), ("tcp", "465"), ("tcp", "587")),
    "MDNS": _udp("5353"),
    "MSNP": _tcp("1863"),
    "MSSQL": _tcp("1433"),
    "Munin": _tcp("4949"),
    "MySQL": _tcp("3306"),
    "NeighborDiscovery": (
        ("icmpv6", "router-solicitation"),
        ("icmpv6", "router-advertisement"),
        ("icmpv6", "neighbor-solicitation"),
        ("icmpv6", "neighbor-advertisement"),
    ),
    "NNTP": _tcp("119"),
    "NNTPS": _tcp("563"),
    "NTP": _udp("123"),
    "OpenVPN": _udp("1194"),
    "OSPF": (("ospf", ""),),
    "PCA": (("udp", "5632"), ("tcp", "5631")),
    "Ping": (("icmp", "echo-request"),),
    "PMG": _tcp("8006"),
    "POP3": _tcp("110"),
    "POP3S": _tcp("995"),
    "PostgreSQL": _tcp("5432"),
    "PPtP": (("gre", ""), ("tcp", "1723")),
    "Printer": _tcp("515"),
    "Razor": _tcp("2703"),
    "Rdate": _tcp("37"),
    "RDP": _tcp("3389"),
    "RIP": _udp("520"),
    "RNDC": _tcp("953"),
    "Rsync": _tcp("873"),
    "SANE": _tcp("6566"),
    "SixXS": (("tcp", "3874"), ("udp", "3740"), ("ipv6", ""), ("udp", "5072")),
    "SMB": (("udp", "135,445"), ("udp", "137:139"), ("tcp", "135,139,445")),
    "SMBswat": _tcp("901"),
    "SMTP": _tcp("25"),
    "SMTPS": _tcp("465"),
    "SNMP": (("udp", "161:162"), ("tcp", "161")),
    "SPAMD": _tcp("783"),
    "SPICEproxy": _tcp("3128"),
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
    "VNCL": _tcp("5500"),
    "Web": (("tcp", "80"), ("tcp", "443")),
    "Webcache": _tcp("8080"),
    "Webmin": _tcp("10000"),
    "Whois": _tcp("43"),
}

_PREFERRED = {name.lower(): name for name in MACROS}


def preferred_name(name: str) -> str | None:
    """Find a macro whatever its case; None where there is none."""
    return _PREFERRED.get(name.lower())
