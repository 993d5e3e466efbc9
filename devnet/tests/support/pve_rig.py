"""The users, rights and settings of the machine the recordings were made on."""

from pve402_devnet.pve import AccessOptions, AclOptions, Progress, SimulatorOptions, TokenOptions

PASSWORD = "correct-horse"
GUEST_PRIVILEGES = (
    "VM.Allocate",
    "VM.Audit",
    "VM.Config.Disk",
    "VM.Config.CPU",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
    "VM.Console",
)
SERVICE_PRIVILEGES = (
    *GUEST_PRIVILEGES,
    "Datastore.AllocateSpace",
    "Datastore.Audit",
    "SDN.Use",
    "Sys.Audit",
    "Pool.Audit",
)
LEAST_RIGHTS = (
    ("/vms", "guests"),
    ("/storage/local", "storage"),
    ("/sdn/zones/localnetwork/vmbr0", "bridge"),
)


def options() -> SimulatorOptions:
    """The users and rights of the recordings; time stands still unless ticked."""
    least = [
        AclOptions(path=path, who=who, role=role)
        for path, role in LEAST_RIGHTS
        for who in ("lp@pve", "lp@pve!tt")
    ]
    service = [AclOptions(path="/", who=who, role="service") for who in ("svc@pve", "svc@pve!test")]
    return SimulatorOptions(
        progress=Progress.BY_TICK,
        auth_failure_seconds=3.0,
        publish_interval_seconds=1e9,
        access=AccessOptions(
            passwords=(("svc@pve", PASSWORD), ("lp@pve", PASSWORD)),
            roles=(
                ("service", SERVICE_PRIVILEGES),
                ("guests", GUEST_PRIVILEGES),
                ("storage", ("Datastore.AllocateSpace",)),
                ("bridge", ("SDN.Use",)),
            ),
            tokens=(
                TokenOptions(user="svc@pve", name="test"),
                TokenOptions(user="lp@pve", name="tt"),
                TokenOptions(user="svc@pve", name="nopriv"),
                TokenOptions(user="root@pam", name="rootnopriv", privilege_separated=False),
            ),
            acl=(*service, *least),
        ),
    )
