"""A password that cannot be shown by accident."""

from __future__ import annotations

import os
from typing import Optional

from st2auth_ldap3.errors import Misconfigured


class Secret:
    """`reveal` is the only way to the bytes. From a file it is read again whenever the file changes."""

    def __init__(self, value: Optional[str] = None, file: Optional[str] = None) -> None:
        self._value = value.encode("utf-8", "surrogatepass") if value else b""
        self._file = file
        self._stamp: Optional[tuple[int, int, int]] = None

    def __repr__(self) -> str:
        return "Secret(***)"

    def __bool__(self) -> bool:
        return bool(self._value or self._file)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be stored")

    def reveal(self) -> bytes:
        """The password, never empty. A file's last line end is no part of it. Raises Misconfigured."""
        if self._file:
            self._read(self._file)
        if not self._value:
            raise Misconfigured(["the service account's password is empty"])
        return self._value

    def _read(self, file: str) -> None:
        try:
            status = os.stat(file)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                with open(file, "rb") as stream:
                    self._value = stream.read(4096).rstrip(b"\r\n")
                self._stamp = stamp
        except OSError as error:
            raise Misconfigured([f"bind_password_file cannot be read: {error.strerror}"]) from None
