"""The phases of an upgrade as a table: when one may begin, its steps, what proves it, and the steps of its way back."""

from __future__ import annotations

from dataclasses import dataclass

from st2ha.upgrade.ledger import CUT_OVER, CUTTING, NEW, PREPARED, RETIRED, VERIFIED


@dataclass(frozen=True)
class Phase:
    """`steps` and `undo` are verbs in order; `entry`: the ledger's states in which it may begin, `ends`: that after."""

    name: str
    what: str
    entry: tuple[str, ...]
    steps: tuple[str, ...]
    proof: str
    undo: tuple[str, ...]
    ends: str


PHASES = (
    Phase(
        "prepare", "a vhost and a copy of the database for the new side, its nodes' st2.conf; the old side works",
        (NEW, PREPARED), ("create_vhost", "copy_database", "write_conf", "migrate"),
        "the vhost works on every node, the copy was equal, the files read back",
        ("restore_conf", "drop_database", "delete_vhost"), PREPARED,
    ),
    Phase(
        "verify", "the new side runs on its copy without sensors and timers, and executes a canary",
        (PREPARED, VERIFIED), ("prove_copy", "start_work", "canary_new", "prove_paths"),
        "the canary succeeded on the new side, and the old side does not know it", ("stop_work",), VERIFIED,
    ),
    Phase(
        "drain", "no event comes in, what runs ends",
        (VERIFIED, CUTTING), ("catch_up_first", "plan_switch", "stop_inflow", "wait_drained"),
        "no execution, queue item, trigger instance or message of the old side is open", ("start_inflow_old",), CUTTING,
    ),
    Phase(
        "catch-up", "what the old side wrote since the copy",
        (CUTTING,), ("catch_up",), "every document that changed is the same on both sides", (), CUTTING,
    ),
    Phase(
        "cutover", "the balancers, standby first; what the old side still had; then the new side's sensors and timers",
        (CUTTING, CUT_OVER), ("switch", "finish_old", "hand_over", "start_inflow", "canary_vip", "end_streams"),
        "a canary through the balancers ran on the new side",
        ("start_streams_old", "switch_back", "stop_inflow_new", "return_keys", "drain_new", "export_new"), CUT_OVER,
    ),
    Phase(
        "settle", "after the soak time the old side goes",
        (CUT_OVER,), ("stop_old", "delete_old_vhost", "drop_old_database"),
        "nothing uses the old vhost and database any more", (), RETIRED,
    ),
)  # fmt: skip
BY_NAME = {phase.name: phase for phase in PHASES}
CUTOVER = ("drain", "catch-up", "cutover")
"""One action, because their window counts."""


def phase_of(verb: str) -> str:
    """The phase that a verb belongs to, forwards or back."""
    return next(phase.name for phase in PHASES if verb in phase.steps or verb in phase.undo)
