"""What a refused bind means, for the audit line; the client never learns it."""

from __future__ import annotations

import re
from typing import Optional

from ldap3.core.results import RESULT_CODES

from st2auth_ldap3.link import Reply

ACTIVE_DIRECTORY = {
    "525": "no such user",
    "52e": "wrong password",
    "52f": "account restriction",
    "530": "outside its logon hours",
    "531": "not from this workstation",
    "532": "password expired",
    "533": "account disabled",
    "568": "too many groups",
    "569": "logon type not granted",
    "701": "account expired",
    "773": "must change its password",
    "775": "account locked",
}
"""AD's sub-code of result 49. With a wrong password all but locked say 52e."""

PASSWORD_POLICY, PASSWORD_EXPIRED = "1.3.6.1.4.1.42.2.27.8.5.1", "2.16.840.1.113730.3.4.4"
POLICY_ERRORS = {
    0: "password expired",
    1: "account locked",
    2: "must change its password",
}
UNWILLING, INACTIVATED = 53, "Account inactivated"
"""How 389-DS refuses an account with nsAccountLock."""
_SUB_CODE = re.compile(r"\bdata ([0-9a-f]{1,8})\b", re.IGNORECASE)


def refusal(reply: Reply) -> Optional[str]:
    """Why a bind did not sign its user in, None if it did.

    OpenLDAP and 389-DS grant a bind although the password must be changed, and say so in a response control.
    """
    policy = POLICY_ERRORS.get(_policy_error(reply.controls.get(PASSWORD_POLICY, b"")))
    if PASSWORD_EXPIRED in reply.controls:
        policy = policy or "must change its password"
    if reply.code == 0:
        return policy
    found = _SUB_CODE.search(reply.message)
    if reply.code == 49 and found:
        sub_code = found[1].lower()
        return f"{ACTIVE_DIRECTORY.get(sub_code, 'refused')} ({sub_code})"
    if reply.code == 49:
        return policy or "wrong password"
    if reply.code == UNWILLING and INACTIVATED in reply.message:
        return "account disabled"
    return policy or f"{RESULT_CODES.get(reply.code, 'unknown result')} ({reply.code})"


def _policy_error(value: bytes) -> int:
    """The `error [1] ENUMERATED` of a PasswordPolicyResponseValue, -1 if there is none."""
    position = 2
    while position + 2 <= len(value):
        tag, size = value[position], value[position + 1]
        if tag == 0x81 and size == 1 and position + 2 < len(value):
            return value[position + 2]
        position += 2 + size
    return -1
