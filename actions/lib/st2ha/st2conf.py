"""st2.conf as text: read as StackStorm reads it, edited so that every other byte stays.

Pure: whoever calls it reads and writes the file. Lines that no change concerns stay byte for byte, comments and their
order too; an edit that changes nothing gives back the same text, and so does the same edit once more.

    edited = edit(text, {"messaging": {"url": "amqp://...", "cluster_urls": None}}, "green1:/etc/st2/st2.conf")
    edited.text, edited.diff, edited.changed

Source of the rules: oslo.config's parser (iniparser, cfg.ConfigParser): of an option given twice the last one counts, a
section given twice is one section, section names are compared without case, option names with it.
"""

from __future__ import annotations

import configparser
import difflib
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from st2ha.errors import BadInput, StepFailed

if TYPE_CHECKING:
    from configupdater import ConfigUpdater

Changes = Mapping[str, Mapping[str, Optional[str]]]
"""Section -> option -> its new value as it stands in the file, on one line; None takes the option out."""
Options = dict[str, dict[str, str]]
"""Section (lower case, `DEFAULT` as it is) -> option -> value."""

MASK = "********"
NAME = re.compile(r"[A-Za-z0-9_.-]+")
TRUE = ("true", "1", "on", "yes")

_WORD = r"(?:passw(?:or)?d|passphrase|pwd|secret|credential|api_?key|token(?![A-Za-z0-9_]))"
_OPTION = re.compile(
    rf"^([#; \t]*[\w.-]*{_WORD}[\w.-]*[ \t]*[=:][ \t]*)(.*(?:\n[ \t]+\S.*)*)", re.IGNORECASE | re.MULTILINE
)
_LOGIN = re.compile(r"(://[^:/@\s]*:)(?:(?!,\s*[\w+.-]+://)\S)*@")
_QUERY = re.compile(rf"([?&][\w.-]*{_WORD}[\w.-]*=)[^&\s,]*", re.IGNORECASE)
_JSON = re.compile(rf"""((["'])[\w.-]*{_WORD}[\w.-]*\2\s*:\s*)(["'])(?:(?!\3)[^\\\n]|\\.)*\3""", re.IGNORECASE)


@dataclass(frozen=True)
class Edited:
    """The new text; `diff` is unified, with secrets masked, empty where nothing changed; `changed` names the options,
    for example `[messaging] url`."""

    text: str
    diff: str
    changed: tuple[str, ...] = ()


def read(text: str, where: str = "st2.conf") -> Options:
    """Every option as StackStorm sees it: quotes off, `$$` as one dollar. BadInput if the text is no st2.conf."""
    return {
        section: {option: value_of(value) for option, value in options.items()}
        for section, options in _raw(text, where).items()
    }


def refuse_doubles(text: str, sections: Iterable[str], where: str = "st2.conf") -> None:
    """BadInput for what is there twice in these sections: which one is meant, only its author knows."""
    options, updater = _raw(text, where), _parsed(text.replace("\r\n", "\n"), where)
    for section in sections:
        for option in options.get(_key(section), {}):
            _refuse_twice(updater, section, option, where)


def value_of(text: str) -> str:
    """A value as oslo.config understands it: without its quotes, `$$` as `$`; a name after one `$` stays as it is."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    return string.Template(text.replace("\\$", "$$")).safe_substitute()


def is_true(text: Optional[str], default: bool) -> bool:
    """A boolean option; `default` where it is missing or empty."""
    return text.strip().lower() in TRUE if text and text.strip() else default


def edit(text: str, changes: Changes, where: str = "st2.conf") -> Edited:
    """`text` with the changes made, proved by reading it again; `where` names the file in messages and the diff.

    A new option comes after the last one of its section, a missing section at the end of the file. BadInput: what
    cannot be read, and a section or option to change that is there twice (which one is meant?).
    """
    before = _raw(text, where)
    plain = text.replace("\r\n", "\n") if text.count("\r\n") == text.count("\n") else text
    updater, changed = _parsed(plain, where), list[str]()
    for section, options in changes.items():
        for option, value in options.items():
            _check(section, option, value, where)
            if before.get(_key(section), {}).get(option) != value:
                _refuse_twice(updater, section, option, where)
                _set(updater, section, option, value)
                changed.append(f"[{section}] {option}")
    if not changed:
        return Edited(text, "")
    after = str(updater)
    _prove(before, after, changes, where)
    if plain is not text:
        after = after.replace("\n", "\r\n")
    return Edited(after, diff_of(text, after, where), tuple(changed))


def mask(text: str) -> str:
    """The text with its secrets as `********`: passwords in URLs, in JSON, and options that name a secret, in comments
    too. It has as many lines as before."""
    text = _OPTION.sub(lambda found: found[1] + _masked_lines(found[2]), text)
    text = _JSON.sub(rf"\1\g<3>{MASK}\3", text)
    return _QUERY.sub(rf"\1{MASK}", _LOGIN.sub(rf"\1{MASK}@", text))


def diff_of(old: str, new: str, where: str = "st2.conf") -> str:
    """A unified diff whose lines are masked; a secret that alone changed shows as a change between two masks."""
    shown: dict[str, str] = {}
    for text in (old, new):
        for line, masked in zip(_lines(text), _lines(mask(text))):
            if line != masked:
                shown[line] = masked
    rows = list(difflib.unified_diff(_lines(old), _lines(new), f"{where} (now)", f"{where} (new)", lineterm=""))
    return "\n".join(row[0] + shown.get(row[1:], row[1:]) if number > 1 else row for number, row in enumerate(rows))


def _masked_lines(value: str) -> str:
    return "\n".join(line and re.sub(r"\S.*", MASK, line) for line in value.split("\n"))


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _key(section: str) -> str:
    return section if section == "DEFAULT" else section.lower()


def _raw(text: str, where: str) -> Options:
    """As configparser reads it: an opinion of its own, by which the edit is proved."""
    parser = configparser.RawConfigParser(strict=False, default_section="\0", empty_lines_in_values=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text)
    except configparser.MissingSectionHeaderError as error:
        raise BadInput(f"{where} cannot be read: line {error.lineno} comes before any [section]; correct it") from None
    except configparser.ParsingError as error:  # its own text would show the line, and so a secret
        numbers = ", ".join(str(number) for number, _ in error.errors[:3])
        raise BadInput(f"{where} cannot be read: line {numbers} is no `option = value`; correct it") from None
    found: Options = {}
    for section in parser.sections():
        found.setdefault(_key(section), {}).update(parser.items(section))
    return found


def _parsed(text: str, where: str) -> ConfigUpdater:
    from configupdater import ConfigUpdater, ParsingError  # only where something is edited

    updater = ConfigUpdater(strict=False, empty_lines_in_values=False)
    updater.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        updater.read_string(text)
    except ParsingError:
        raise BadInput(f"{where} cannot be read as StackStorm's configuration; correct it") from None
    return updater


def _check(section: str, option: str, value: Optional[str], where: str) -> None:
    for what, name in (("section", section), ("option", option)):
        if NAME.fullmatch(name) is None:
            raise BadInput(f"{where}: {name[:40]!r} is no name of a {what}; use letters, digits, `_`, `.` and `-`")
    if value is not None and (value != value.strip() or len(value.splitlines()) > 1):
        raise BadInput(f"{where}: the value for [{section}] {option} has a line end or spaces around it; take them out")


def _refuse_twice(updater: ConfigUpdater, section: str, option: str, where: str) -> None:
    parts = [each for each in updater.iter_sections() if _key(each.name) == _key(section)]
    if len(parts) > 1:
        raise BadInput(f"{where} has the section [{section}] twice: join them, then run this again")
    if sum(each.key == option for part in parts for each in part.iter_options()) > 1:
        raise BadInput(f"{where} has [{section}] {option} twice: keep the last, which counts, then run this again")


def _set(updater: ConfigUpdater, section: str, option: str, value: Optional[str]) -> None:
    name = next((each for each in updater.sections() if _key(each) == _key(section)), section)
    if not updater.has_section(name):
        if updater.sections() and not str(updater).endswith("\n\n"):
            updater[updater.sections()[-1]].add_after.space(1)
        updater.add_section(name)
    part = updater[name]
    if value is None:
        del part[option]
    elif option in part:
        part[option].value = value
    elif part.options():
        part[part.options()[-1]].add_after.option(option, value)
    else:
        part.insert_at(0).option(option, value)


def _prove(before: Options, after: str, changes: Changes, where: str) -> None:
    """Nothing but the changes has changed, by another parser's word."""
    wanted = {section: dict(options) for section, options in before.items()}
    for section, options in changes.items():
        for option, value in options.items():
            if value is None:
                wanted.get(_key(section), {}).pop(option, None)
            else:
                wanted.setdefault(_key(section), {})[option] = value
    if _raw(after, where) != wanted:
        raise StepFailed(f"{where}: the edited text does not read back as it was meant; nothing was written")
