"""The worker that pulls an OCI image from a registry into a file of a storage."""

import asyncio
import datetime
from dataclasses import dataclass

from pve402_devnet.pve import cluster, errors, options, registries, storage, tasks

_COPY = "skopeo copy docker://{reference} oci-archive:{path}.tmp.{number}"
_BEHAVIOURS = {False: options.TemplateBehaviour.GOOD, True: options.TemplateBehaviour.NO_OS}
_NO_ROOM = "writing blob: storing blob to file: no space left on device"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a pull was asked for, checked; `name` is the file's."""

    reference: str
    storage: storage.Storage
    name: str


async def pull(world: cluster.Cluster, plan: Plan, task: tasks.Task) -> None:
    """Body of `ociregistrypull`: the file is there at the end, or nothing is.

    Of two pulls of one name the last one wins. Nobody looks at the architecture or the size.
    """
    path = plan.storage.template_path(plan.name)
    copy = _COPY.format(reference=plan.reference, path=path, number=task.upid.pid % 1000)
    try:
        image = registries.find(world.options.registries, plan.reference)
        await _copy(world, plan, image, task)
    except registries.PullFailed as problem:
        task.log(_fatal(world, plan, problem))
        raise errors.Failure(f"command '{copy}' failed: exit code {problem.exit_code}") from problem
    except asyncio.CancelledError:
        raise errors.Failure(f"command '{copy}' failed: received interrupt") from None
    plan.storage.templates[plan.name] = options.TemplateOptions(
        storage=plan.storage.name,
        name=plan.name,
        size_bytes=image.size_bytes,
        unpacked_bytes=image.unpacked_bytes,
        os_type=image.os_type,
        behaviour=_BEHAVIOURS[image.os_type == "unmanaged"],
        created_at=int(world.clock.now()),
        image=image,
    )


async def _copy(
    world: cluster.Cluster, plan: Plan, image: registries.OciImage, task: tasks.Task
) -> None:
    task.log("Getting image source signatures", f"Copying blob {image.layer_digest}")
    slow = image.is_slow
    await world.clock.sleep(world.latencies.pull_slow if slow else world.latencies.pull)
    if plan.storage.available_bytes < image.size_bytes:
        raise registries.PullFailed(1, _NO_ROOM)
    task.log(f"Copying config {image.config_digest}", "Writing manifest to image destination")


def _fatal(world: cluster.Cluster, plan: Plan, problem: registries.PullFailed) -> str:
    now = datetime.datetime.fromtimestamp(world.clock.now(), datetime.UTC)
    text = problem.reason
    if text != _NO_ROOM:
        text = f"initializing source docker://{registries.shortest(plan.reference)}: {text}"
    quoted = text.replace('"', '\\"')
    return f'time="{now:%Y-%m-%dT%H:%M:%SZ}" level=fatal msg="{quoted}"'
