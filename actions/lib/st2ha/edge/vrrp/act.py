"""The verbs of a switchover. Each looks again before it writes, and may be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from st2ha.change import wait_until
from st2ha.edge.vrrp.gather import Site, gather, holders_of
from st2ha.errors import CommandFailed, StepFailed, WorldChanged
from st2ha.plan import Step, Verb
from st2ha.probe import Silent

PROOF_S = 10.0
OTHER_NUMBER = 4
COMPARE_AND_SET = b"""
path=$1 was=$2 number=$3
now=$(cat -- "$path") || exit 1
now=$(printf %s "$now" | tr -d '[:space:]')
[ "${now:-0}" = "$was" ] || { echo "it holds ${now:-nothing}, not $was" >&2; exit 4; }
printf '%s\\n' "$number" >"$path.st2ha" && chmod 0644 "$path.st2ha" && mv -- "$path.st2ha" "$path"
"""
"""On the balancer itself, so that the look and the write are one; the new file takes the old one's place at once."""


class Acting:
    """The verbs for one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def verbs(self) -> Mapping[str, Verb]:
        return {"set_switch": self.set_switch, "await_holder": self.await_holder, "prove": self.prove}

    def set_switch(self, step: Step) -> str:
        """Write a number into a balancer's switch file, if file and holder are as the plan has read them."""
        vip, holder = str(step.expect["vip"]), step.expect["holder"]
        if holder is not None and (why := self._other_than(vip, str(holder))):
            raise WorldChanged(f"{holder} should hold {vip}, but {why}")
        way = self._site.doors[step.target]
        if way is None:
            raise StepFailed(f"there is no way into {step.target}: set edge.command")
        words = ["sh", "-s", "--", *(str(step.expect[key]) for key in ("path", "was", "number"))]
        try:
            way.run(words, self._site.timeout_s, stdin=COMPARE_AND_SET)
        except CommandFailed as error:
            if error.code == OTHER_NUMBER:
                raise WorldChanged(f"the switch file of {step.target} was changed: {error}") from None
            raise
        return f"{step.expect['number']} in {step.expect['path']}, was {step.expect['was']}"

    def await_holder(self, step: Step) -> str:
        """Wait until the target alone holds the VIP; every balancer must have been seen."""
        vip, within_s = str(step.expect["vip"]), float(step.expect["within_s"])
        waited_s = wait_until(lambda: self._other_than(vip, step.target), within_s, f"{step.target} to hold {vip}")
        return f"holds it after {waited_s:.1f} s"

    def prove(self, step: Step) -> str:
        """Everything once more: one holder, by addresses and by ARP, and an answer through the VIP."""
        vip, site = str(step.expect["vip"]), self._site

        def missing() -> Optional[str]:
            snapshot = gather(site, services=True)
            holders = [node.name for node in snapshot.holders(vip)]
            sighting = snapshot.sightings.get(vip)
            if snapshot.silent or holders != [step.target]:
                return (
                    f"held by {' and '.join(holders) or 'nobody'}; not seen: {', '.join(snapshot.silent) or 'nobody'}"
                )
            if sighting is not None and len(sighting.macs) != 1:
                return f"{len(sighting.macs)} MACs answer ARP for it"
            why = snapshot.services.get(vip)
            return None if why is None else f"no service through it: {why}"

        wait_until(missing, PROOF_S, f"the proof that {step.target} holds {vip} and serves")
        asked = "it alone holds it" + (", and answers through it" if vip in site.probes else "")
        return asked

    def _other_than(self, vip: str, wanted: str) -> Optional[str]:
        """None if exactly `wanted` holds the VIP, by the word of all balancers; else what is so instead."""
        answers = holders_of(self._site, vip, list(self._site.doors))
        silent = [name for name, answer in answers.items() if isinstance(answer, Silent)]
        if silent:
            return f"{' and '.join(silent)} is not seen"
        holding = [name for name, answer in answers.items() if answer is True]
        return None if holding == [wanted] else f"{' and '.join(holding) or 'nobody'} holds it"
