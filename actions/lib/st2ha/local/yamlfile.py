"""Read YAML files: safely, fast (libyaml where it is there), and with one sentence where they are broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from st2ha.errors import BadInput

MAX_BYTES = 4 * 1024 * 1024


def load(path: Path, what: str) -> Any:
    """The content of one YAML file; `what` names its role in the error, for example "configuration"."""
    import yaml

    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{what} {path} is larger than {MAX_BYTES} bytes: name another file")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{what} {path} cannot be read ({error.strerror}): check the path and its permissions") from None
    except UnicodeDecodeError:
        raise BadInput(f"{what} {path} is not UTF-8 text: save it as UTF-8") from None
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        # The problem's text may quote the line, and the line may be a password: say only where it is.
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "an unknown line"
        raise BadInput(f"{what} {path} is not valid YAML at {where}: correct it there") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise BadInput(f"{what} {path} is not valid YAML: correct it") from None


def load_mapping(path: Path, what: str) -> dict[str, Any]:
    """The content of a YAML file that holds a mapping; an empty file is an empty one."""
    value = load(path, what)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInput(f"{what} {path} holds a {type(value).__name__}, not a mapping: write `key: value` lines")
    return value
