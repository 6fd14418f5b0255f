"""Where things are: the pack, its configuration, the state that the local runner keeps."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

from st2ha.errors import BadInput


def stackstorm_root() -> Path:
    """StackStorm's base directory; ST2HA_STACKSTORM names another one."""
    return Path(os.environ.get("ST2HA_STACKSTORM", "/opt/stackstorm"))


def stackstorm_site_packages() -> list[str]:
    """StackStorm's own libraries of this Python version; empty where StackStorm is not installed."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = (stackstorm_root() / "st2" / lib / version / "site-packages" for lib in ("lib", "lib64"))
    return [str(path) for path in found if path.is_dir()]


def use_stackstorm_libraries() -> None:
    """Append StackStorm's libraries as the last resort.

    pip leaves out of a pack's virtualenv what StackStorm has already (PyYAML, pymongo), so on a StackStorm node they
    are needed; last on the path, they never replace the pack's own.
    """
    sys.path.extend(path for path in stackstorm_site_packages() if path not in sys.path)


class Places(NamedTuple):
    """The directories of one run of st2ha."""

    pack: Path
    state: Path

    @property
    def actions(self) -> Path:
        return self.pack / "actions"

    @property
    def sensors(self) -> Path:
        return self.pack / "sensors"

    @property
    def library(self) -> Path:
        """The directory that holds the package st2ha which is running now."""
        return Path(__file__).resolve().parents[2]

    @property
    def journal(self) -> Path:
        return self.state / "journal.jsonl"

    @property
    def datastore(self) -> Path:
        return self.state / "datastore.sqlite3"

    def make_state(self) -> str | None:
        """Make the state directory for its owner alone; return why not, or None."""
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.state, os.W_OK | os.X_OK):
                return f"{self.state} is not writable"
        except OSError as error:
            return f"{self.state}: {error.strerror}"
        return None


def state_directory() -> Path:
    """$ST2HA_STATE_DIR, else /var/lib/st2ha for root, else ~/.local/state/st2ha."""
    named = os.environ.get("ST2HA_STATE_DIR")
    if named:
        return Path(named)
    return Path("/var/lib/st2ha") if os.geteuid() == 0 else Path.home() / ".local" / "state" / "st2ha"


def config_file(named: str | None, pack: Path, name: str) -> Path | None:
    """The configuration to read: --config, $ST2HA_CONFIG, StackStorm's, the pack's own; None where there is none."""
    for source, given in (("--config", named), ("ST2HA_CONFIG", os.environ.get("ST2HA_CONFIG"))):
        if given:
            path = Path(given)
            if not path.is_file():
                raise BadInput(f"{source} {given} is not a file: name the pack's configuration file")
            return path
    for path in (stackstorm_root() / "configs" / f"{name}.yaml", pack / f"{name}.yaml"):
        if path.is_file():
            return path
    return None
