"""`pve402 ops images`: OCI images on nodes."""

import functools
from typing import Annotated

import typer

from pve402.domain import oci
from pve402.ops import image_list, images, running

app = typer.Typer(help="OCI images on nodes.", no_args_is_help=True)

Reference = Annotated[
    str,
    typer.Argument(help="An image as HOST/PATH:TAG, such as docker.io/library/python:3.13-slim."),
]
Storage = Annotated[
    str, typer.Option(help="The storage for its file; one that holds templates.", metavar="NAME")
]
Nodes = Annotated[
    list[str] | None, typer.Option("--node", help="A node, may be repeated; all by default.")
]


@app.command("list")
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    env_file: running.EnvFile = None,
) -> None:
    """List the OCI images of the catalogue: where their files are, and what their trials showed."""
    running.run(env_file, functools.partial(image_list.show, as_json=as_json), needs_tables=True)


@app.command("retry")
def try_again(
    image: Annotated[str, typer.Argument(help="An image's name in the catalogue.")],
    env_file: running.EnvFile = None,
) -> None:
    """Have an image looked for, pulled if it is not there, and tried again on each node.

    It is not sold meanwhile. The service does it, within seconds.
    """
    running.run(env_file, functools.partial(image_list.retry, name=image), needs_tables=True)


@app.command()
def pull(
    reference: Reference,
    storage: Storage,
    node: Nodes = None,
    env_file: running.EnvFile = None,
) -> None:
    """Have nodes pull an image from its registry, under a name of ours.

    It needs rights that the service does not have otherwise. Proxmox VE 9.1 is the first that can.
    """
    running.run(env_file, _wanted(reference, storage, node).pull)


@app.command()
def remove(
    reference: Reference,
    storage: Storage,
    node: Nodes = None,
    env_file: running.EnvFile = None,
) -> None:
    """Remove what `pull` put on nodes; needs Datastore.Allocate on the storage."""
    running.run(env_file, _wanted(reference, storage, node).remove)


def _wanted(reference: str, storage: str, nodes: list[str] | None) -> images.Images:
    try:
        parsed = oci.Reference.parse(reference)
    except ValueError as error:
        raise typer.BadParameter(f"{reference[:80]!r} {error}") from None
    return images.Images(reference=parsed, storage=storage, nodes=tuple(nodes or ()))
