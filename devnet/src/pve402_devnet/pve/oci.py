"""What becomes of an OCI image's configuration in a new guest (PVE::LXC::Create)."""

import shlex

from pve402_devnet.pve import config, errors, guest_schema, registries, runtime, schema, tasks

_STOP_SIGNAL = "SIGTERM"


def report(task: tasks.Task, *, is_full: bool) -> None:
    """Say how unpacking the layers went; raises `errors.Failure` for a disk that is full."""
    if is_full:
        task.log("tar: junk: Wrote only 1536 of 10240 bytes")
        task.log("tar: Exiting with failure status due to previous errors")
        raise errors.Failure("Error while extracting OCI image: IO error")


def configure(conf: config.GuestConfig, image: registries.OciImage, task: tasks.Task) -> None:
    """Put the image's entrypoint, environment and the rest in place of what the caller sent."""
    for path in image.volumes:
        task.log(f"creating base directory for volume at {path}")
    program = (*image.entrypoint, *image.command)
    if program and program[0] != runtime.GuestSpec.entrypoint:
        conf.put("entrypoint", shlex.join(program))
        conf.put("cmode", "console")
        _manage_networks(conf, task)
    if image.user is not None:
        names = ("lxc.init.uid", "lxc.init.gid", "lxc.init.groups")
        conf.raw += [[name, value] for name, value in zip(names, image.user, strict=True)]
    if image.working_directory:
        conf.raw.append(["lxc.init.cwd", image.working_directory])
    if image.environment:
        conf.put("env", "\0".join(image.environment))
    conf.raw.append(["lxc.signal.halt", image.stop_signal or _STOP_SIGNAL])


def _manage_networks(conf: config.GuestConfig, task: tasks.Task) -> None:
    """Have the node set addresses: a program that is no init would not."""
    for name, network in conf.networks().items():
        if "host-managed" not in network:
            task.log(f"Auto-Enabling host-managed network for network device {name}.")
            network["host-managed"] = "1"
            conf.put(name, schema.print_property_string(network, guest_schema.NETWORK))
