"""The edge of a site that lets its VIP be moved by a file: both balancers track it."""

from __future__ import annotations

from typing import Any

from lab.edge import BALANCERS, EdgeLab

SWITCH = "/run/st2ha-vrrp"
DEFINITION = f"track_file st2ha {{\n    file {SWITCH}\n    weight 1\n    init_file 0\n}}\n"
TRACKED = ("track_file {", "    st2ha", "}")


class SwitchLab(EdgeLab):
    """EdgeLab with `track_file` in both files."""

    def keepalived_conf(self, name: str, **other: Any) -> str:
        """As the lab's; `more` of other goes into the instance beside the tracked file."""
        more = (*TRACKED, *other.pop("more", ()))
        return DEFINITION + super().keepalived_conf(name, more=more, **other)

    def restore(self) -> None:
        """Numbers to 0 as well, and what runs is what is in the files."""
        for name, server in self.keepalived.items():
            self.write_number(name, 0)
            self.configure_keepalived(name, self.keepalived_conf(name))
            if server.alive():
                server.resume()
                self.reload_keepalived(name)
        super().restore()

    def reconfigure(self, *more: str, **other: Any) -> None:
        """Both balancers with `more` lines in the instance and `other` settings, loaded."""
        for name in BALANCERS:
            self.configure_keepalived(name, self.keepalived_conf(name, more=more, **other))
            self.reload_keepalived(name)

    def number(self, name: str) -> int:
        """What is in a balancer's switch file."""
        return int(self.file(name, SWITCH).read_text() or 0)

    def write_number(self, name: str, number: int) -> None:
        """As somebody would by hand."""
        self.file(name, SWITCH).write_text(f"{number}\n")
