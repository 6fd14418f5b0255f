"""The pack's metadata files, read as StackStorm reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from st2ha.errors import BadInput
from st2ha.local import yamlfile
from st2ha.local.places import Places

Schema = dict[str, Any]

PYTHON, WORKFLOW = "python-script", "orquesta"

#: What StackStorm's python runner adds to every action (contrib/runners/python_runner/runner.yaml).
RUNNER_PARAMETERS: dict[str, dict[str, Schema]] = {
    PYTHON: {
        "debug": {"type": "boolean", "default": False},
        "content_version": {"type": "string"},
        "env": {"type": "object"},
        "timeout": {"type": "integer", "default": 600},
        "log_level": {"type": "string", "default": "DEBUG"},
    },
    WORKFLOW: {
        "context": {"type": "object", "default": {}},
        "notify": {"type": "array", "default": []},
    },
}


@dataclass(frozen=True)
class Action:
    """One file `actions/<name>.yaml`."""

    pack: str
    name: str
    runner: str
    entry: Path
    description: str = ""
    enabled: bool = True
    own_parameters: dict[str, Schema] = field(default_factory=dict)
    output_schema: dict[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        return f"{self.pack}.{self.name}"

    @property
    def writes(self) -> bool:
        """A writing action is one that can also be rehearsed."""
        return "dry_run" in self.own_parameters

    @property
    def is_workflow(self) -> bool:
        return self.runner == WORKFLOW

    @property
    def parameters(self) -> dict[str, Schema]:
        """The action's parameters over its runner's; an action may override attributes of the runner's."""
        merged = {name: dict(schema) for name, schema in RUNNER_PARAMETERS.get(self.runner, {}).items()}
        for name, schema in self.own_parameters.items():
            merged[name] = {**merged.get(name, {}), **schema}
        return merged

    @property
    def runner_parameters(self) -> set[str]:
        return set(RUNNER_PARAMETERS.get(self.runner, {}))

    @property
    def shown_parameters(self) -> dict[str, Schema]:
        """What a person may set, in the order of StackStorm's forms: position, required, name."""
        own = {n: s for n, s in self.own_parameters.items() if n not in self.runner_parameters}
        last = len(own) + 1
        order = sorted(own, key=lambda n: (own[n].get("position", last), not own[n].get("required", False), n))
        return {name: own[name] for name in order}

    @property
    def positions(self) -> list[str]:
        """Names of the parameters that have a position, in that order."""
        placed = [(schema["position"], name) for name, schema in self.own_parameters.items() if "position" in schema]
        return [name for _, name in sorted(placed)]

    @property
    def secrets(self) -> set[str]:
        return {name for name, schema in self.parameters.items() if schema.get("secret")}


@dataclass(frozen=True)
class SensorType:
    """One file `sensors/<name>.yaml`."""

    pack: str
    name: str
    class_name: str
    entry: Path
    description: str = ""
    poll_interval: int | None = None
    enabled: bool = True

    @property
    def ref(self) -> str:
        return f"{self.pack}.{self.class_name}"


def pack_name(pack: Path) -> str:
    """The pack's reference from pack.yaml."""
    content = yamlfile.load_mapping(pack / "pack.yaml", "pack metadata")
    return str(content.get("ref") or content.get("name") or pack.name)


def pack_version(pack: Path) -> str:
    return str(yamlfile.load_mapping(pack / "pack.yaml", "pack metadata").get("version", "unknown"))


def read_action(path: Path, pack: str) -> Action:
    """One action from its metadata file."""
    content = yamlfile.load_mapping(path, "action metadata")
    parameters = content.get("parameters") or {}
    bad = not isinstance(parameters, dict) or not all(isinstance(s, dict) for s in parameters.values())
    if bad:
        raise BadInput(f"action metadata {path} has `parameters` that are not a mapping of mappings: correct it")
    return Action(
        pack=pack,
        name=str(content.get("name") or path.stem),
        runner=str(content.get("runner_type") or ""),
        entry=path.parent / str(content.get("entry_point") or ""),
        description=" ".join(str(content.get("description") or "").split()),
        enabled=bool(content.get("enabled", True)),
        own_parameters=parameters,
        output_schema=content.get("output_schema") or {},
    )


def read_sensor(path: Path, pack: str) -> SensorType:
    """One sensor from its metadata file."""
    content = yamlfile.load_mapping(path, "sensor metadata")
    if not content.get("class_name") or not content.get("entry_point"):
        raise BadInput(f"sensor metadata {path} lacks class_name or entry_point: add it")
    interval = content.get("poll_interval")
    return SensorType(
        pack=pack,
        name=path.stem,
        class_name=str(content["class_name"]),
        entry=path.parent / str(content["entry_point"]),
        description=" ".join(str(content.get("description") or "").split()),
        poll_interval=int(interval) if interval else None,
        enabled=bool(content.get("enabled", True)),
    )


@dataclass(frozen=True)
class Pack:
    """What the pack offers. Files are read when they are asked for: one action costs one file."""

    name: str
    places: Places

    @classmethod
    def at(cls, places: Places) -> Pack:
        return cls(pack_name(places.pack), places)

    def actions(self) -> list[Action]:
        """All actions and workflows, by name."""
        found = [read_action(path, self.name) for path in sorted(self.places.actions.glob("*.yaml"))]
        return sorted(found, key=lambda a: a.name)

    def sensors(self) -> list[SensorType]:
        return [read_sensor(path, self.name) for path in sorted(self.places.sensors.glob("*.yaml"))]

    def find_action(self, name: str) -> Action | None:
        """The action of that name or reference; its file usually has the same name, which saves reading the others."""
        short = name[len(self.name) + 1 :] if name.startswith(self.name + ".") else name
        path = self.places.actions / f"{short}.yaml"
        if "/" not in short and path.is_file():
            action = read_action(path, self.name)
            if action.name == short:
                return action
        return next((action for action in self.actions() if action.name == short), None)

    def action(self, name: str) -> Action:
        action = self.find_action(name)
        if action is None:
            raise BadInput(f'there is no action "{name}"{_did_you_mean(name, [a.name for a in self.actions()])}')
        return action

    def sensor(self, name: str) -> SensorType:
        """The sensor of that file name, class name or reference."""
        sensors = self.sensors()
        for sensor in sensors:
            if name in (sensor.name, sensor.class_name, sensor.ref):
                return sensor
        raise BadInput(f'there is no sensor "{name}"{_did_you_mean(name, [s.name for s in sensors])}')


def _did_you_mean(name: str, known: list[str]) -> str:
    return did_you_mean(name, known, "`st2ha list` shows all")


def did_you_mean(name: str, known: list[str], otherwise: str) -> str:
    """ ": did you mean X?" where one of the known names is close, else the other remedy."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f": did you mean {close[0]}?" if close else f": {otherwise}"
