"""What StackStorm brings along, as tables: runners, core actions, triggers, operators, policy types.

Each table says which file of st2 it was read from. A name that is missing here is reported as unknown: add it here
when the pack begins to use it.
"""

from typing import Any, NamedTuple

JsonObject = dict[str, Any]

#: contrib/runners/<runner>/<runner>/runner.yaml: the parameters that belong to the runner and never reach ``run()``.
RUNNER_PARAMETERS: dict[str, JsonObject] = {
    "python-script": {
        "debug": {"type": "boolean", "default": False},
        "content_version": {"type": "string"},
        "env": {"type": "object"},
        "timeout": {"type": "integer", "default": 600},
        "log_level": {
            "type": "string",
            "default": "DEBUG",
            "enum": ["AUDIT", "CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"],
        },
    },
    "orquesta": {"notify": {"type": "array", "default": []}},
}

#: st2common/util/schema/__init__.py: an action may change only these attributes of a runner's parameter.
OVERRIDABLE = frozenset({"default", "description", "enum", "immutable", "required"})


class Signature(NamedTuple):
    """Names an action takes: the ones it must be given, and the rest."""

    required: frozenset[str]
    optional: frozenset[str]


def _signature(required: str, optional: str = "") -> Signature:
    return Signature(frozenset(required.split()), frozenset(optional.split()))


_SHELL = "cwd env kwarg_op sudo sudo_password timeout"
_REMOTE = "hosts cwd dir env kwarg_op parallel passphrase password port private_key sudo sudo_password timeout username"

#: contrib/core/actions/*.yaml and contrib/chatops/actions/*.yaml together with their runners' parameters.
CORE_ACTIONS: dict[str, Signature] = {
    "chatops.post_message": _signature("message channel", "route user whisper context extra"),
    "core.announcement": _signature("", "message experimental route"),
    "core.ask": _signature("", "schema route roles users ttl"),
    "core.echo": _signature("message", f"cmd {_SHELL}"),
    "core.error": _signature("message", f"cmd {_SHELL}"),
    "core.http": _signature(
        "url",
        "auth body file_content file_content_type file_name file_path headers method params timeout allow_redirects"
        " cookies http_proxy https_proxy password username verify_ssl_cert url_hosts_blacklist url_hosts_whitelist",
    ),
    "core.inject_trigger": _signature("", "trigger trigger_name payload trace_tag env debug timeout"),
    "core.local": _signature("cmd", _SHELL),
    "core.local_sudo": _signature("cmd", _SHELL),
    "core.noop": _signature(""),
    "core.pause": _signature("max_pause", "random timeout"),
    "core.remote": _signature("cmd hosts", _REMOTE),
    "core.remote_sudo": _signature("cmd hosts", _REMOTE),
    "core.sendmail": _signature(
        "to subject body", f"from sendmail_binary send_empty_body content_type attachments {_SHELL}"
    ),
    "core.uuid": _signature("", "uuid_type"),
}

#: st2common/operators.py
_OPERATORS = (
    "matchwildcard matchregex regex iregex eq equals neq nequals ieq iequals contains icontains ncontains incontains"
    " startswith istartswith endswith iendswith lt lessthan gt greaterthan td_lt timediff_lt td_gt timediff_gt"
    " exists nexists in inside nin ninside search"
)
OPERATORS = frozenset(_OPERATORS.split())
REGEX_OPERATORS = frozenset({"matchregex", "regex", "iregex"})

_CRON_FIELDS = ("year", "month", "day", "week", "day_of_week", "hour", "minute", "second")
_TIME_ZONE: JsonObject = {"timezone": {"type": "string"}}


def _parameters(required: JsonObject, optional: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "required": sorted(required),
        "properties": {**required, **optional},
        "additionalProperties": False,
    }


_ANY = {"type": "object"}

#: st2common/constants/triggers.py: trigger type -> JSON schema of its parameters.
CORE_TRIGGERS: dict[str, JsonObject] = {
    "core.st2.generic.actiontrigger": _ANY,
    "core.st2.generic.notifytrigger": _ANY,
    "core.st2.generic.inquiry": _ANY,
    "core.st2.action.file_written": _ANY,
    "core.st2.sensor.process_spawn": _ANY,
    "core.st2.sensor.process_exit": _ANY,
    "core.st2.key_value_pair.create": _ANY,
    "core.st2.key_value_pair.update": _ANY,
    "core.st2.key_value_pair.value_change": _ANY,
    "core.st2.key_value_pair.delete": _ANY,
    "core.st2.webhook": _parameters({"url": {"type": "string"}}, {}),
    "core.st2.IntervalTimer": _parameters(
        {"unit": {"enum": ["weeks", "days", "hours", "minutes", "seconds"]}, "delta": {"type": "integer"}}, _TIME_ZONE
    ),
    "core.st2.DateTimer": _parameters({"date": {"type": "string"}}, _TIME_ZONE),
    "core.st2.CronTimer": _parameters(
        {}, {**_TIME_ZONE, **{field: {"type": ["string", "integer"]} for field in _CRON_FIELDS}}
    ),
}

_THRESHOLD: JsonObject = {"threshold": {"type": "integer", "minimum": 1}}
_ON_THRESHOLD: JsonObject = {"action": {"enum": ["delay", "cancel"]}}
_ATTRIBUTES: JsonObject = {
    "attributes": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "string", "minLength": 1}}
}

CONCURRENCY_BY_ATTRIBUTE = "action.concurrency.attr"

#: st2common/policies/meta/*.yaml. st2 does not ask for ``attributes``; without it the policy has nothing to compare.
POLICY_TYPES: dict[str, JsonObject] = {
    "action.concurrency": _parameters(_THRESHOLD, _ON_THRESHOLD),
    CONCURRENCY_BY_ATTRIBUTE: _parameters({**_THRESHOLD, **_ATTRIBUTES}, _ON_THRESHOLD),
    "action.retry": _parameters(
        {"retry_on": {"enum": ["failure", "timeout"]}},
        {
            "max_retry_count": {"type": "integer", "minimum": 1, "maximum": 5},
            "delay": {"type": "number", "minimum": 0, "maximum": 120},
        },
    ),
}

#: The pack's own words (docs/architecture.md): the last word of an action's name. Every other verb writes.
_READING = "check preflight plan lookup explain status list show get report compare measure inspect facts notify"
READING_VERBS = frozenset(_READING.split())


def writes(action_name: str) -> bool:
    """Whether an action changes the world, told by the last word of its name."""
    return action_name.rsplit("_", 1)[-1] not in READING_VERBS
