"""`/nodes/{node}/tasks` and `/cluster/tasks`: lists, status, log, stopping."""

import datetime
from collections.abc import Iterable, Iterator

from pve402_devnet.pve import errors, formats, guest_schema, rest, tasks, upid
from pve402_devnet.pve.guest_schema import flag, number, text
from pve402_devnet.pve.schema import Property

_PATH = "/nodes/{node}/tasks"
_OF_A_TASK = {"node": guest_schema.NODE, "upid": Property()}
_DEFAULT_LIMIT = 50
_NO_SUCH_FILE = "unable to open file - No such file or directory"


async def list_tasks(call: rest.Call) -> rest.Json:
    """The tasks of a node that the caller may see, newest first."""
    world, node, source = call.world, call.node, call.text("source", "archive")
    auditor = call.may(f"/nodes/{node}", "Sys.Audit")
    rows = [
        _row(task, archived=archived)
        for task, archived in _listed(world.tasks, source)
        if task.upid.node == node
        and (auditor or _is_own(task.upid, call.user))
        and _passes(call, task)
    ]
    first, limit = call.integer("start", 0), call.integer("limit", _DEFAULT_LIMIT)
    return rest.Reply(data=rows[first : first + limit], total=len(rows))


async def cluster_tasks(call: rest.Call) -> rest.Json:
    """The last tasks of all nodes."""
    auditor = call.may("/", "Sys.Audit")
    registry = call.world.tasks
    return [
        _broadcast_row(task, registry.refreshes)
        for task in registry.active()
        if auditor or task.upid.user_and_token[0] == call.user
    ]


async def index(call: rest.Call) -> rest.Json:
    """The entries of a task."""
    return [{"name": "log"}, {"name": "status"}]


async def status(call: rest.Call) -> rest.Json:
    """Whether a task is running, and how it ended."""
    name = _parse(call)
    task = _existing(call, name)
    _require_rights(call, name, "Sys.Audit")
    owner, token = name.user_and_token
    shown: dict[str, object] = {
        "upid": str(name),
        "node": name.node,
        "pid": name.pid,
        "pstart": name.pstart,
        "starttime": name.start,
        "type": name.type,
        "id": name.id,
        "user": owner,
        "status": "running" if task.running else "stopped",
    }
    if token is not None:
        shown["tokenid"] = token
    if not task.running:
        shown["exitstatus"] = task.exit_status
    return shown


async def log(call: rest.Call) -> rest.Json:
    """Lines of a task's log; for an unknown task, one line that says so."""
    name = _parse(call)
    _require_rights(call, name, "Sys.Audit")
    task = call.world.tasks.find(str(name))
    if call.flag("download"):
        return _download(call, name, task)
    lines = [_NO_SUCH_FILE] if task is None else task.lines or ["no content"]
    first, limit = call.integer("start", 0), call.integer("limit", _DEFAULT_LIMIT)
    last = first + limit if limit else len(lines)
    numbered = [{"n": n, "t": line} for n, line in enumerate(lines, start=1)]
    return rest.Reply(data=numbered[first:last], total=len(lines))


async def stop(call: rest.Call) -> rest.Json:
    """Interrupt a task; does nothing if it has ended."""
    name = _parse(call)
    task = _existing(call, name)
    _require_rights(call, name, "Sys.Modify")
    await call.world.tasks.interrupt(task)
    return None


def _listed(registry: tasks.TaskRegistry, source: str) -> Iterator[tuple[tasks.Task, bool]]:
    if source in ("active", "all"):
        for task in registry.active():
            if task.saved_in_refresh is None:
                yield task, False
    if source != "active":
        for task in registry.archived():
            yield task, True


def _row(task: tasks.Task, *, archived: bool) -> dict[str, object]:
    name = task.upid
    row: dict[str, object] = {
        "upid": str(name),
        "node": name.node,
        "pid": name.pid,
        "pstart": name.pstart,
        "starttime": name.start,
        "type": name.type,
        "id": name.id,
    }
    if not archived:
        return {**row, "user": name.user, "status": "RUNNING", "saved": "0"}
    owner, token = name.user_and_token
    row |= {"user": owner, "status": task.exit_status, "endtime": int(task.ended_at or 0)}
    if token is not None:
        row["tokenid"] = token
    return row


def _broadcast_row(task: tasks.Task, refreshes: int) -> dict[str, object]:
    name = task.upid
    owner, token = name.user_and_token
    row: dict[str, object] = {
        "upid": str(name),
        "node": name.node,
        "starttime": name.start,
        "type": name.type,
        "id": name.id,
        "user": owner,
    }
    if token is not None:
        row["tokenid"] = token
    if task.saved_in_refresh is None:
        return {**row, "pid": name.pid}
    saved: object = 1 if task.saved_in_refresh == refreshes else "1"
    return {
        **row,
        "status": task.exit_status,
        "endtime": int(task.ended_at or 0),
        "saved": saved,
    }


def _passes(call: rest.Call, task: tasks.Task) -> bool:
    name = task.upid
    wanted: Iterable[bool] = (
        call.text("userfilter").lower() in name.user.lower(),
        call.text("typefilter") in ("", name.type),
        call.text("vmid") in ("", name.id),
        call.integer("since", 0) <= name.start,
        name.start <= call.integer("until", name.start),
        _status_kind(task) in _wanted_kinds(call),
    )
    return all(wanted)


def _wanted_kinds(call: rest.Call) -> set[str]:
    everything = {"ok", "warning", "error", "unknown"}
    if call.flag("errors"):
        return everything - {"ok"}
    chosen = {kind.lower() for kind in formats.split_list(call.text("statusfilter"))}
    return chosen or everything


def _status_kind(task: tasks.Task) -> str:
    status = task.exit_status or "unexpected status"
    if status == "OK":
        return "ok"
    if status.startswith("WARNINGS: "):
        return "warning"
    return "unknown" if status == "unexpected status" else "error"


def _parse(call: rest.Call) -> upid.Upid:
    name = upid.parse(call.text("upid"))
    if name is None:
        raise errors.ParameterErrors({"upid": "unable to parse worker upid"})
    return name


def _existing(call: rest.Call, name: upid.Upid) -> tasks.Task:
    task = call.world.tasks.find(str(name))
    if task is None:
        raise errors.ParameterErrors({"upid": "no such task"})
    return task


def _is_own(name: upid.Upid, user: str) -> bool:
    """A token sees its own tasks; a user also sees those of all its tokens."""
    return user in (name.user, name.user_and_token[0])


def _require_rights(call: rest.Call, name: upid.Upid, privilege: str) -> None:
    if not _is_own(name, call.user):
        call.require(f"/nodes/{call.node}", privilege)


def _download(call: rest.Call, name: upid.Upid, task: tasks.Task | None) -> rest.Reply:
    if "start" in call.params or "limit" in call.params:
        raise errors.Failure(
            "'download' cannot be used together with 'start' or 'limit' parameters"
        )
    if task is None:
        raise errors.Failure(f"Could not open file '{name}' - No such file or directory")
    began = datetime.datetime.fromtimestamp(name.start, tz=datetime.UTC)
    return rest.Reply(
        download="".join(line + "\n" for line in task.lines),
        file_name=f"task-{name.node}-{name.type}-{began:%Y-%m-%dT%H:%M:%SZ}.log",
    )


ROUTES = (
    rest.Route(
        method="GET",
        path=_PATH,
        handler=list_tasks,
        permission=rest.any_user,
        parameters={
            "node": guest_schema.NODE,
            "start": number(0),
            "limit": number(0),
            "userfilter": text(),
            "typefilter": text(),
            "vmid": guest_schema.VMID_OPTIONAL,
            "errors": flag(),
            "source": text(enum=("archive", "active", "all")),
            "since": number(),
            "until": number(),
            "statusfilter": text(format="pve-task-status-type-list"),
        },
    ),
    rest.Route(
        method="GET",
        path="/cluster/tasks",
        handler=cluster_tasks,
        permission=rest.any_user,
    ),
    rest.Route(
        method="GET",
        path=f"{_PATH}/{{upid}}",
        handler=index,
        permission=rest.any_user,
        parameters=_OF_A_TASK,
    ),
    rest.Route(
        method="GET",
        path=f"{_PATH}/{{upid}}/status",
        handler=status,
        permission=rest.any_user,
        parameters=_OF_A_TASK,
        protected=True,
    ),
    rest.Route(
        method="GET",
        path=f"{_PATH}/{{upid}}/log",
        handler=log,
        permission=rest.any_user,
        parameters={**_OF_A_TASK, "start": number(0), "limit": number(0), "download": flag()},
        protected=True,
    ),
    rest.Route(
        method="DELETE",
        path=f"{_PATH}/{{upid}}",
        handler=stop,
        permission=rest.any_user,
        parameters=_OF_A_TASK,
        protected=True,
    ),
)
