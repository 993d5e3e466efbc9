"""Reinstallations as requests ask for them, and as answers show them."""

from pve402 import schemas
from pve402.domain import reinstalls, ssh_keys
from pve402.leases.alterations.reinstalls import Outcome

_WORDS = {
    reinstalls.State.STOPPING: "reinstalling",
    reinstalls.State.EMPTYING: "reinstalling",
    reinstalls.State.MAKING: "reinstalling",
}


def to_wish(asked: schemas.ReinstallRequest) -> reinstalls.Wish:
    """Translate a body."""
    skips = asked.user_data is not None and asked.user_data_network is False
    return reinstalls.Wish(
        template=asked.template,
        password=asked.password,
        ssh_public_keys=tuple(map(ssh_keys.tidy, asked.ssh_public_keys)),
        env=asked.env,
        user_data=asked.user_data,
        user_data_skips_network=skips,
        delete_snapshots=asked.delete_snapshots,
    )


def answer(outcome: Outcome) -> schemas.ReinstallAnswer:
    """The latest reinstallation of a lease, or that there was none."""
    row, made = outcome.lease, outcome.made
    shown = {"lease_id": row.lease_id, "ctid": row.ctid, "expires_at": row.expires_at}
    if made is None:
        return schemas.ReinstallAnswer.model_validate({**shown, "state": "none"})
    return schemas.ReinstallAnswer.model_validate(
        {
            **shown,
            "state": _WORDS.get(made.state, made.state.value),
            "problem": made.problem,
            "template": made.kept.get("template"),
            "asked_at": made.created_at,
            "ended_at": made.ended_at,
        }
    )
