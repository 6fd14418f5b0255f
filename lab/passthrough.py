"""A FUSE file system that shows a directory elsewhere: stopped, what touches it hangs; killed, it gives ENOTCONN.

python -m lab.passthrough DIRECTORY MOUNTPOINT NAME_OF_THE_SERVER
"""

from __future__ import annotations

import os
import sys
from typing import Any

import fuse


class Passthrough(fuse.Operations):  # type: ignore[misc]
    """Reads only: that is what a check does."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
        try:
            status = os.lstat(self.directory + path)
        except OSError as error:
            raise fuse.FuseOSError(error.errno) from None
        names = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_atime", "st_mtime", "st_ctime")
        return {name: getattr(status, name) for name in names}

    def readdir(self, path: str, fh: Any) -> list[str]:
        return [".", "..", *os.listdir(self.directory + path)]

    def readlink(self, path: str) -> str:
        return os.readlink(self.directory + path)

    def open(self, path: str, flags: int) -> int:
        return os.open(self.directory + path, flags)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0


if __name__ == "__main__":
    fuse.FUSE(Passthrough(sys.argv[1]), sys.argv[2], foreground=True, nothreads=True, nonempty=True, fsname=sys.argv[3])
