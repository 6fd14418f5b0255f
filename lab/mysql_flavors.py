"""The two kinds of server of the MySQL part of the lab: how each is installed, started and made a replica.

MariaDB comes from Debian's package. MySQL 9 comes from Debian sid in a directory of its own (see
``lab.install_mysql9``) and runs there through its own dynamic loader, without chroot.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from lab.errors import LabError

# Who may what. The first shows which rights a check needs, the second which an operation needs; root is for tests.
USERS = ("st2ha_check", "st2ha", "repl", "app", "lab_root")
CANARY = "GRANT ALL ON `st2ha_canary`.* TO"
Passwords = dict[str, str]


class Flavor(ABC):
    """What differs between the servers."""

    name: str
    mysqld: Path
    rights: ClassVar[dict[str, str]]

    @abstractmethod
    def limitation(self) -> str | None:
        """Why it cannot run here, None if it can."""

    @abstractmethod
    def prefix(self) -> list[str]:
        """What stands before the server's own arguments."""

    @abstractmethod
    def initialize(self, data: Path, init_file: Path) -> None:
        """Make an empty data directory that has run the SQL of ``init_file``."""

    @abstractmethod
    def options(self) -> list[str]:
        """Options that the other kind does not know."""

    @abstractmethod
    def change_source(self, host: str, port: int, password: str) -> list[str]:
        """Statements that make a server replicate from another one, by GTID."""

    def command_line(self, directory: Path, port: int, number: int, pem: Path | None) -> list[str]:
        """The argv of a small server with its files in ``directory``; read-only until it is told otherwise."""
        command = [
            *self.prefix(),
            *("--no-defaults", f"--datadir={directory / 'data'}", f"--port={port}", "--bind-address=127.0.0.1"),
            *("--socket=mysqld.sock", f"--pid-file={directory / 'mysqld.pid'}", f"--server-id={number}"),
            *("--report-host=127.0.0.1", f"--report-port={port}", "--skip-name-resolve"),
            *("--log-bin=binlog", "--binlog-format=ROW", "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1"),
            *("--relay-log=relay", "--relay-log-recovery=1", "--read-only=1"),
            *("--performance-schema=0", "--innodb-buffer-pool-size=16M", "--max-connections=60"),
            *self.options(),
        ]
        if os.geteuid() == 0:
            command.append("--user=root")  # the lab itself gives each server a uid; this silences the warning
        return command + ([f"--ssl-cert={pem}", f"--ssl-key={pem}"] if pem else [])

    def users(self, passwords: Passwords) -> str:
        """The SQL that creates the lab's users."""
        lines = []
        for user in USERS:
            who = f"'{user}'@'127.0.0.1'"
            lines.append(f"CREATE USER {who} IDENTIFIED BY '{passwords[user]}';")
            lines += [f"{grant} {who};" for grant in self.rights[user].split("; ")]
        lines[-1] = lines[-1].replace(";", " WITH GRANT OPTION;")
        return "\n".join(lines) + "\n"


class Mariadb(Flavor):
    """Debian's mariadb-server."""

    name = "mariadb"
    mysqld = Path("/usr/sbin/mariadbd")
    rights: ClassVar[dict[str, str]] = {
        "st2ha_check": "GRANT PROCESS, SLAVE MONITOR, BINLOG MONITOR, FILE ON *.* TO; GRANT SELECT ON mysql.user TO; "
        "GRANT SELECT ON mysql.global_priv TO; GRANT SELECT ON `st2ha_canary`.* TO",
        "st2ha": "GRANT PROCESS, SLAVE MONITOR, BINLOG MONITOR, RELOAD, FILE, READ_ONLY ADMIN, CONNECTION ADMIN, "
        "REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, BINLOG ADMIN ON *.* TO; GRANT SELECT ON mysql.user TO; "
        f"GRANT SELECT ON mysql.global_priv TO; {CANARY}",
        "repl": "GRANT REPLICATION SLAVE ON *.* TO",
        "app": "GRANT ALL ON `app`.* TO",
        "lab_root": "GRANT ALL ON *.* TO",
    }

    def limitation(self) -> str | None:
        return None if self.mysqld.exists() else "there is no mariadbd: apt install mariadb-server"

    def prefix(self) -> list[str]:
        return [str(self.mysqld)]

    def initialize(self, data: Path, init_file: Path) -> None:
        _run([
            "mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
            "--skip-test-db", "--innodb-log-file-size=4M", f"--extra-file={init_file}",
        ])  # fmt: skip

    def users(self, passwords: Passwords) -> str:
        return "FLUSH PRIVILEGES;\n" + super().users(passwords)

    def options(self) -> list[str]:
        return [
            *("--gtid-strict-mode=1", "--log-slave-updates", "--skip-slave-start", "--innodb-log-file-size=4M"),
            *("--rpl-semi-sync-master-enabled=1", "--rpl-semi-sync-slave-enabled=1", "--plugin-load-add=disks"),
            # One that waits for a replica of its own, or a new primary without one, would stand still.
            *("--rpl-semi-sync-master-timeout=1000", "--rpl-semi-sync-master-wait-no-slave=0"),
        ]

    def change_source(self, host: str, port: int, password: str) -> list[str]:
        return [
            f"CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER='repl', "
            f"MASTER_PASSWORD='{password}', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
            "START SLAVE",
        ]


class Mysql9(Flavor):
    """MySQL 9 from Debian sid."""

    name = "mysql9"
    rights: ClassVar[dict[str, str]] = {
        "st2ha_check": "GRANT PROCESS, REPLICATION CLIENT ON *.* TO; GRANT SELECT ON mysql.user TO; "
        "GRANT SELECT ON performance_schema.* TO; GRANT SELECT ON `st2ha_canary`.* TO",
        "st2ha": "GRANT PROCESS, REPLICATION CLIENT, RELOAD, REPLICATION_SLAVE_ADMIN, SYSTEM_VARIABLES_ADMIN, "
        "CONNECTION_ADMIN, BACKUP_ADMIN ON *.* TO; GRANT SELECT ON mysql.user TO; "
        f"GRANT SELECT ON performance_schema.* TO; {CANARY}",
        "repl": "GRANT REPLICATION SLAVE ON *.* TO",
        "app": "GRANT ALL ON `app`.* TO",
        "lab_root": "GRANT ALL ON *.* TO",
    }

    def __init__(self) -> None:
        given = os.environ.get("ST2HA_LAB_MYSQL9")
        self.root = Path(given) if given else Path(__file__).resolve().parent.parent / ".lab" / "mysql9"
        self.mysqld = self.root / "usr" / "sbin" / "mysqld"

    def limitation(self) -> str | None:
        return None if self.mysqld.exists() else f"there is no {self.mysqld}: run python -m lab install mysql9"

    def prefix(self) -> list[str]:
        library = f"{self.root}/usr/lib/x86_64-linux-gnu"
        return [f"{self.root}/usr/lib64/ld-linux-x86-64.so.2", "--library-path", library, str(self.mysqld)]

    def initialize(self, data: Path, init_file: Path) -> None:
        user = ["--user=root"] if os.geteuid() == 0 else []
        _run([
            *self.prefix(), "--no-defaults", "--initialize-insecure", f"--datadir={data}", f"--init-file={init_file}",
            "--innodb-redo-log-capacity=8M", *self._places(), *user,
        ])  # fmt: skip
        (data / "auto.cnf").unlink()  # each copy makes a server_uuid of its own

    def options(self) -> list[str]:
        return [
            *self._places(),
            *("--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--log-replica-updates", "--skip-replica-start"),
            *("--innodb-redo-log-capacity=8M", "--mysqlx=0", "--super-read-only=1"),
            "--plugin-load=semisync_source.so;semisync_replica.so",
            *("--loose-rpl-semi-sync-source-enabled=1", "--loose-rpl-semi-sync-replica-enabled=1"),
            *("--loose-rpl-semi-sync-source-timeout=1000", "--loose-rpl-semi-sync-source-wait-no-replica=0"),
        ]

    def change_source(self, host: str, port: int, password: str) -> list[str]:
        return [
            f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='{host}', SOURCE_PORT={port}, SOURCE_USER='repl', "
            f"SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1",
            "START REPLICA",
        ]

    def _places(self) -> list[str]:
        usr = self.root / "usr"
        return [
            *(f"--basedir={usr}", f"--plugin-dir={usr}/lib/mysql/plugin", f"--lc-messages-dir={usr}/share/mysql"),
            "--secure-file-priv=NULL",
        ]


FLAVORS: dict[str, type[Flavor]] = {"mariadb": Mariadb, "mysql9": Mysql9}


def install_mysql9() -> Path:
    """Unpack MySQL 9 of Debian sid (debootstrap, 33 s, 650 MB); the path of mysqld. Needs root. Idempotent."""
    flavor = Mysql9()
    if flavor.limitation() is None:
        return flavor.mysqld
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        raise LabError("unpacking MySQL 9 needs root and debootstrap (apt install debootstrap)")
    draft = flavor.root.with_suffix(".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    _run(["debootstrap", "--variant=minbase", "sid", str(draft), "http://deb.debian.org/debian"])
    policy = draft / "usr" / "sbin" / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")  # no service is started in there
    policy.chmod(0o755)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "mysql-server-core"]
    _run(["chroot", str(draft), "env", "DEBIAN_FRONTEND=noninteractive", *install])
    draft.replace(flavor.root)
    return flavor.mysqld


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if result.returncode != 0:
        raise LabError(f"{command[0]} failed: {(result.stderr or result.stdout).strip()[-800:]}")
