"""Serves fakepve and brings about its scenarios at a word; runs in fakepve's own environment.

usage: .venv-fakepve/bin/python fakepve_scenarios.py GUESTS CERTIFICATE KEY USER PASSWORD TIME_SCALE

fakepve's command line knows no scenarios, only its Python interface does, so somebody has to call
that. fakepve is under the AGPL: this program is no part of pve402, is imported by nothing, copies
nothing of it, and talks to the tests over standard input and output: a JSON line is one call,
`[name, arguments, keywords]`, with `set` for an attribute; the answer is a JSON line as well.
"""

import asyncio
import inspect
import json
import sys

from fakepve import FakePve


async def main(guests: str, certificate: str, key: str, user: str, password: str, scale: str):
    pve = FakePve(user=user, password=password, host="127.0.0.1", port=0)
    pve.time_scale = float(scale)
    for guest in json.loads(guests):
        settings = guest.pop("settings", {})
        container = pve.add_ct(**guest)
        for name, value in settings.items():
            setattr(container, name, value)
    await pve.start(certificate, key)
    print(f"fakepve listening on https://{pve.host}:{pve.port}", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            answer = await obey(pve, *json.loads(line))
        except Exception as error:  # noqa: BLE001 -- whatever it is, the test shows it
            answer = {"error": repr(error)}
        print("answer " + json.dumps(answer, default=str), flush=True)


async def obey(pve: FakePve, name: str, arguments: list, keywords: dict):
    if name == "set":
        path, value = arguments
        *way, last = path.split(".")
        target = pve
        for step in way:
            target = target[step] if isinstance(target, dict) else getattr(target, step)
        if isinstance(target, dict):
            target[last] = value
        else:
            setattr(target, last, value)
        return None
    if name == "set_guest":
        vmid, attribute, value = arguments
        return setattr(pve.guest(vmid), attribute, value)
    if name == "scenarios":
        known = [name for name in dir(FakePve) if not name.startswith("_")]
        return [name for name in known if callable(getattr(FakePve, name))]
    if name == "forget_failures":
        return pve.failures.clear()
    done = getattr(pve, name)(*arguments, **keywords)
    return await done if inspect.isawaitable(done) else done


asyncio.run(main(*sys.argv[1:]))
