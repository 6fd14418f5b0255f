"""From a Scene and the phase wanted to a plan, or a refusal. Pure; `phases.py` is the table behind it."""

from __future__ import annotations

from typing import Any

from st2ha.plan import Decision, Plan, Refused, Step
from st2ha.upgrade.ledger import CUT_OVER, CUTTING, FINAL_STATES, NEW, ROLLED_BACK
from st2ha.upgrade.names import is_downgrade
from st2ha.upgrade.phases import BY_NAME, CUTOVER, Phase
from st2ha.upgrade.scene import Scene

BECAUSE = {
    "create_vhost": "the new side's queues, with the old one's policies",
    "copy_database": "a copy that is kept up to date",
    "migrate": "the configured migration of the copy",
    "prove_copy": "equal before the new side writes to it",
    "canary_new": "an execution of core.noop past the balancers",
    "prove_paths": "each service of each new node answers as balancers will ask it",
    "wait_drained": "executions end, no event comes in",
    "catch_up_first": "so that little is left for the window",
    "plan_switch": "what the balancers would refuse is found before the window",
    "catch_up": "what the old side wrote since the copy",
    "finish_old": "what the old side took before the switch is executed there, and comes over",
    "hand_over": "from now on the copy is the new side's",
    "canary_vip": "an execution of core.noop as users start one",
    "delete_old_vhost": "nothing uses it",
    "drop_old_database": "nothing uses it",
    "delete_vhost": "it was made by this upgrade",
    "drop_database": "it was made by this upgrade, and the new side never took over",
    "return_keys": "sensors go on from where the new side's were",
    "drain_new": "what users began there ends there",
    "export_new": "what was made on the new side stays on record",
}


def forward(scene: Scene, *names: str, force: bool = False) -> Decision:
    """The steps of the named phases, all of them: each finds out by itself whether it was done."""
    phases = [BY_NAME[name] for name in names]
    goal = f"{names[0] if len(names) == 1 else 'cutover'} of {scene.old_database} to {scene.names.database}"
    hard = _reasons(scene, goal, phases[0].entry)
    soft = downgrade(scene)
    if hard or (soft and not force):
        return Refused(goal, tuple(hard), tuple(soft))
    return Plan(goal, tuple(step for phase in phases for verb in phase.steps for step in _steps(scene, verb)))


def cutover(scene: Scene, force: bool = False) -> Decision:
    """Drain, catch-up and cutover as one. Done already: no steps."""
    if scene.entry.state == CUT_OVER:
        return Plan(f"cutover to {scene.names.database}: it is done", ())
    return forward(scene, *CUTOVER, force=force)


def rollback(scene: Scene, purge: bool) -> Decision:
    """Back to the old side from any phase: what was begun is undone, in the opposite order.

    Once users could reach the new side its database and vhost stay: they hold what was executed there.
    """
    entry, goal = scene.entry, f"rollback to {scene.old_database}"
    if entry.state in (NEW, ROLLED_BACK) and not entry.begun:
        return Plan(f"{goal}: nothing was begun", ())
    if entry.state in FINAL_STATES:
        return Refused(goal, (f"the upgrade is {entry.state}",))
    switched = entry.switched_at is not None  # noted before the first balancer is touched
    begun = (
        ("start_streams_old", entry.broke_off("end_streams")),  # stopped, and perhaps not started again
        ("switch_back", switched),
        ("stop_inflow_new", entry.did("start_inflow")),
        ("return_keys", switched),
        ("start_inflow_old", entry.did("stop_inflow")),
        ("drain_new", switched),
        ("export_new", switched),
        ("stop_work", entry.did("start_work")),
        ("restore_conf", entry.did("write_conf")),
        ("drop_database", purge and not switched),
        ("delete_vhost", purge and not switched),
    )
    verbs = [verb for verb, wanted in begun if wanted]
    return Plan(goal, tuple(step for verb in verbs for step in _steps(scene, verb)))


def retire(scene: Scene, now: float, confirm: Any) -> Decision:
    """Remove the old side; `confirm` must be its database's name."""
    goal = f"retirement of {scene.old_database}"
    hard = _reasons(scene, goal, BY_NAME["settle"].entry)
    if scene.entry.handed_over_at is not None:
        soaked_s = now - scene.entry.handed_over_at.timestamp()
        if soaked_s < scene.upgrade.soak_s:
            left = scene.upgrade.soak_s - soaked_s
            hard.append(f"the soak time of {scene.upgrade.soak_s:g} s ends in {left:.0f} s: wait (upgrade.soak_s)")
    if scene.configured_vhost == scene.old_vhost:
        hard.append(f"rabbitmq.vhost is still {scene.old_vhost}: set it to {scene.names.vhost} in the configuration")
    if confirm != scene.old_database:
        hard.append(f"parameter `confirm` is {confirm!r}: repeat the old database's name, {scene.old_database}")
    if hard:
        return Refused(goal, tuple(hard))
    return Plan(goal, tuple(step for verb in BY_NAME["settle"].steps for step in _steps(scene, verb)))


def _reasons(scene: Scene, goal: str, entry: tuple[str, ...]) -> list[str]:
    hard = []
    if scene.holder is not None:
        hard.append(f"{scene.holder} works on this upgrade: wait for it, see upgrade_status")
    if scene.entry.state not in entry:
        hard.append(f"the upgrade is {scene.entry.state}: this needs one that is {' or '.join(entry)}")
    return hard


def steps_of(scene: Scene, phase: Phase) -> list[Step]:
    """What a phase would do as things stand now."""
    return [step for verb in phase.steps for step in _steps(scene, verb)]


def downgrade(scene: Scene) -> list[str]:
    """What is risked when the new version is the older one; empty otherwise."""
    old, new = scene.upgrade.old.version, scene.upgrade.new.version
    if scene.entry.state not in (CUTTING, CUT_OVER) and is_downgrade(old, new):
        words = ".".join(map(str, new)), ".".join(map(str, old))
        return [f"{words[0]} is older than {words[1]}: it may not understand what the newer one has written"]
    return []


def _steps(scene: Scene, verb: str) -> list[Step]:
    """One step a file, a balancer, or in all: services of all nodes are told at once."""
    upgrade = scene.upgrade
    if verb == "write_conf":
        return [
            Step(verb, files.node.name, ", ".join(files.edited.changed), {"files": files})
            for files in scene.files
            if files.edited.changed
        ]
    if verb == "migrate":
        node = upgrade.new.nodes[0].name
        return [Step(verb, node, BECAUSE[verb])] if upgrade.migrate else []
    if verb in ("switch", "switch_back"):
        side = "new" if verb == "switch" else "old"
        return [Step(verb, name, f"to the {side} side", {"side": side}) for name in upgrade.switched]
    services = _services(scene).get(verb)
    if services is not None:
        nodes, words, names = services
        own = {node.name: node.of(names) for node in nodes if node.of(names)}
        return [Step(verb, ", ".join(own), words, {"services": own})] if own else []
    if verb == "restore_conf":
        return [Step(verb, node.name, "as it was before") for node in upgrade.new.nodes]
    if verb == "canary_vip" and upgrade.vip_api_url is None:
        return []
    if verb == "canary_new" and upgrade.new.api_url is None:
        return []
    if verb in ("prove_paths", "plan_switch"):
        return [Step(verb, upgrade.new.group, BECAUSE[verb])] if upgrade.new.group else []
    return [Step(verb, _target(scene, verb), BECAUSE[verb])]


def _services(scene: Scene) -> dict[str, tuple[Any, str, tuple[str, ...]]]:
    upgrade = scene.upgrade
    old, new, everything = upgrade.old.nodes, upgrade.new.nodes, (*upgrade.inflow, *upgrade.work, *upgrade.late)
    return {
        "start_work": (new, "without sensors, timers and what would tidy a copy up", upgrade.work),
        "stop_work": (new, "it is not needed any more", everything),
        "stop_inflow": (old, "no event comes in", upgrade.inflow),
        "start_streams_old": (old, "balancers go back to what runs", upgrade.streams),
        "start_inflow_old": (old, "events come in here again", (*upgrade.inflow, *upgrade.streams)),
        "end_streams": (old, "who listens comes in again, to the new side", upgrade.streams),
        "start_inflow": (new, "events come in here from now on", (*upgrade.inflow, *upgrade.late)),
        "stop_inflow_new": (new, "no event comes in", (*upgrade.inflow, *upgrade.late)),
        "stop_old": (old, "the old side goes", everything),
    }


def _target(scene: Scene, verb: str) -> str:
    old = verb in ("wait_drained", "finish_old", "drop_old_database", "delete_old_vhost")
    if "vhost" in verb:
        return scene.old_vhost if old else scene.names.vhost
    if verb == "canary_vip":
        return str(scene.upgrade.vip_api_url)
    if verb == "canary_new":
        return str(scene.upgrade.new.api_url)
    return scene.old_database if old else scene.names.database
