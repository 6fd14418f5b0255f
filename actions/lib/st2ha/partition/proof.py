"""That a plan does what it says: its texts are read back as StackStorm reads them, and each sensor's owners counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from st2ha.partition.artifacts import file_text, keys, told_by_file, told_by_keys
from st2ha.partition.assign import Owners
from st2ha.partition.fleet import Node
from st2ha.partition.hash import SPACE
from st2ha.partition.providers import Container, Ownership
from st2ha.partition.ranges import gaps, overlaps


@dataclass(frozen=True)
class Proof:
    """What was counted; `faults` is empty, or the plan must not be used."""

    sensors: int
    covered: int
    faults: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        return {
            "holds": not self.faults,
            "sensors_with_one_owner": self.sensors,
            "hashes_covered_once": self.covered,
            "faults": list(self.faults),
        }


def prove(told: Sequence[Container], owners: Owners, nodes: Sequence[Node]) -> Proof:
    """Each enabled sensor has exactly the planned owner; no gap, overlap, ended container, trap or misuse."""
    fleet = Ownership(_as_read(told))
    faults = [
        f"{node}: {trouble}"
        for node, share in fleet.shares.items()
        for trouble in (share.ended, share.trap, *(m.sentence() for m in share.misuses if m.part != "0..0"))
        if trouble is not None
    ]
    covered = 0
    if any(each.provider == "hash" for each in told):
        covered = sum(arc.range.size for arc in fleet.arcs if len(arc.nodes) == 1)
        faults += [f"nobody owns {gap}" for gap in gaps(fleet.arcs)]
        faults += [f"{' and '.join(arc.nodes)} own {arc.range}" for arc in overlaps(fleet.arcs)]
        faults += [f"{covered} of {SPACE} hashes have one owner"] * (covered != SPACE)
    right = 0
    for place, refs in enumerate(owners.items.refs):
        number = owners.items.hashes[place] if owners.items.hashes else None
        for ref in refs:
            found = fleet.owners(ref, number)
            right += found == (nodes[owners.nodes[place]].name,)
            if len(found) != 1:
                faults.append(f"{ref} runs on {' and '.join(found) or 'no node'}")
            elif found[0] != nodes[owners.nodes[place]].name:
                faults.append(f"{ref} runs on {found[0]}, planned was {nodes[owners.nodes[place]].name}")
    return Proof(right, covered, tuple(faults))


def _as_read(told: Sequence[Container]) -> Sequence[Container]:
    """The containers as they come back from the texts that are written."""
    names = [each.node for each in told]
    if told and told[0].provider == "file":
        return told_by_file(file_text(told), names)
    if told and told[0].provider == "kvstore":
        values: Mapping[str, str] = keys(told)
        return told_by_keys({each.node: value for each, value in zip(told, values.values())})
    return told
