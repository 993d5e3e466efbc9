"""A simulated Proxmox VE cluster to start, talk to, look into and stop, in one process."""

import asyncio
import ssl

import structlog

from pve402_devnet.pve import (
    cables,
    certificate,
    clock,
    cluster,
    console,
    control,
    dispatch,
    figures,
    options,
    rest,
    routes,
    runtime,
    server,
)
from pve402_devnet.pve.firewall import admission

_log = structlog.get_logger(__name__)

_API_PORT = 8006  # on a real node
ADMIN_TOKEN = "devnet"  # noqa: S105 - a token's name, not its secret


class SimulatedProxmox:
    """A cluster behind an HTTP server on loopback.

    Without tokens in its options it makes `root@pam!devnet`, which may do everything, with a
    random secret. State is open to inspection: `world` holds guests, tasks, storages and faults.
    Raises `server.NotLoopback` for an address that others could reach.
    """

    def __init__(
        self,
        chosen: options.SimulatorOptions | None = None,
        *,
        guest_runtime: runtime.GuestRuntime | None = None,
        terminal: runtime.TerminalService | None = None,
        network: runtime.Network | None = None,
    ) -> None:
        self.options = chosen or options.SimulatorOptions()
        server.require_loopback(self.options.host)
        service = terminal or console.NullTerminal()
        self.world = cluster.Cluster(
            self.options, guest_runtime or runtime.NullRuntime(), service, network
        )
        if isinstance(service, console.NullTerminal):
            service.use_clock(self.world.clock)
        self._add_admin_token()
        self._dispatcher = dispatch.Dispatcher(
            self.world, rest.Router(routes.every_route(self.options))
        )
        self._server = server.ApiServer(self.world, self._dispatcher)
        self._control = control.ControlServer(self.world)
        self._watchers: list[asyncio.Task[None]] = []
        self._tls: certificate.Certificate | None = None

    async def start(self) -> None:
        """Listen, publish guest figures, and look after the network where there is one.

        Raises RuntimeError where this machine cannot have the network.
        """
        await self.world.network.start([*self.world.nodes])
        await cables.build(self.world)
        self._tls = certificate.make(self.options.host) if self.options.tls else None
        context = self._tls.server_context() if self._tls else None
        await self._server.start(self.options.host, self.options.port, context)
        if self.options.control_port is not None:
            await self._control.start(self.options.host, self.options.control_port)
        if self.options.publish_interval_seconds > 0:
            self._watchers.append(asyncio.create_task(self._publish_for_ever()))
        if self.options.callers_address:
            self._watchers.append(asyncio.create_task(self._guard_for_ever()))
        if self.world.network.connects:
            self._watchers.append(asyncio.create_task(cables.watch(self.world)))
        _log.info("simulated Proxmox VE listens", url=self.base_url)

    async def stop(self) -> None:
        """End all guests and tasks and stop listening."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await self.world.close()
        await self.world.tasks.close()
        await self._dispatcher.close()
        for vmid in list(self.world.guests):
            await self.world.runtime.stop(vmid)
        await self.world.network.stop()
        await self._server.stop()
        await self._control.stop()

    async def __aenter__(self) -> "SimulatedProxmox":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        """Where the API answers, without `/api2/json`."""
        scheme = "https" if self.options.tls else "http"
        return f"{scheme}://{self.options.host}:{self._server.port}"

    @property
    def control_url(self) -> str:
        """Where faults are ordered."""
        return f"http://{self.options.host}:{self._control.port}"

    @property
    def token_id(self) -> str:
        """The first token: `user@realm!name`."""
        return next(iter(self.tokens))

    @property
    def token_secret(self) -> str:
        """Its secret."""
        return self.tokens[self.token_id]

    @property
    def tokens(self) -> dict[str, str]:
        """The secrets of all tokens, by full id; those of the options first."""
        listed = [f"{t.user}!{t.name}" for t in self.options.access.tokens]
        listed = listed or [f"root@pam!{ADMIN_TOKEN}"]
        found = {name: self.world.access.token(name) for name in listed}
        return {name: token.secret for name, token in found.items() if token is not None}

    @property
    def root_password(self) -> str:
        """The password of root@pam."""
        return self.world.access.users["root@pam"].password

    @property
    def certificate_pem(self) -> str:
        """The self-signed certificate of the server; empty without TLS."""
        return self._tls.pem if self._tls else ""

    @property
    def fingerprint_sha256(self) -> str:
        """The certificate's fingerprint in the form Proxmox shows; empty without TLS."""
        return self._tls.fingerprint_sha256 if self._tls else ""

    def client_tls(self) -> ssl.SSLContext:
        """A context that trusts this server's certificate alone."""
        return ssl.create_default_context(cadata=self.certificate_pem)

    def authorization(self, token_id: str | None = None) -> dict[str, str]:
        """The header that a token's holder sends."""
        name = token_id or self.token_id
        return {"Authorization": f"PVEAPIToken={name}={self.tokens[name]}"}

    async def tick(self, seconds: float) -> None:
        """Move the time forward; only with progress by tick."""
        if not isinstance(self.world.clock, clock.TickClock):
            raise TypeError("time passes by itself; choose Progress.BY_TICK")
        await self.world.clock.tick(seconds)

    async def publish(self) -> None:
        """Take the snapshot of guest figures that `/cluster/resources` shows, now."""
        await figures.publish(self.world)

    def _add_admin_token(self) -> None:
        if not self.options.access.tokens:
            admin = options.TokenOptions(
                user="root@pam",
                name=ADMIN_TOKEN,
                privilege_separated=False,
            )
            self.world.access.add_token(admin)

    async def _guard_for_ever(self) -> None:
        """Have the API refuse or take new connections as the node's firewall says, at its pace."""
        while True:
            await (self._server.open() if self._admits_callers() else self._server.close())
            pause = max(cables.SHORTEST_POLL_SECONDS, self.world.latencies.firewall)
            await self.world.clock.sleep(pause)

    def _admits_callers(self) -> bool:
        node = self.world.nodes[self.world.local_node]
        return admission.admits(
            self.world.firewalls.cluster,
            self.world.firewalls.node(node.name),
            interface=node.bridges[0],
            address=node.address,
            source=self.options.callers_address,
            port=_API_PORT,
        )

    async def _publish_for_ever(self) -> None:
        while True:
            await figures.publish(self.world)
            await self.world.clock.sleep(self.options.publish_interval_seconds)
