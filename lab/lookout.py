"""When did a member first call itself primary? Asks every member every few milliseconds, on connections of its own."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from lab.cluster import Member
from lab.mongodb import MongoCluster
from lab.wait import wait_for


class Lookout:
    """A context manager; a thread for each member asks ``hello`` every ``interval_s``. Times are epoch seconds."""

    def __init__(self, rs: MongoCluster, interval_s: float = 0.01) -> None:
        self.interval_s = interval_s
        self._ending = threading.Event()
        self._claims: list[tuple[float, str, Any]] = []
        self._lost: list[tuple[float, str]] = []
        self._asked: set[str] = set()
        self._clients: list[MongoClient[dict[str, Any]]] = []
        self._threads = [
            threading.Thread(target=self._watch, args=(rs, member), daemon=True)
            for member in rs.members[: rs.data_members]
        ]

    def __enter__(self) -> Lookout:
        for thread in self._threads:
            thread.start()
        wait_for(lambda: len(self._asked) == len(self._threads), 10, "an answer of every member", interval_s=0.005)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(5)
        for client in self._clients:
            client.close()

    def primary_at(self, since: float, deadline_s: float = 30) -> tuple[float, str]:
        """When, after ``since``, a member first called itself primary of a new election, and its address."""
        return wait_for(
            lambda: next(((at, name) for at, name, _ in list(self._claims) if at >= since), None),
            deadline_s,
            "a new primary",
            interval_s=0.01,
        )

    def lost_at(self, address: str, since: float, deadline_s: float = 10) -> float:
        """When the member at ``address`` was asked, after ``since``, the first time that it did not answer."""
        return wait_for(
            lambda: next((at for at, name in list(self._lost) if name == address and at >= since), None),
            deadline_s,
            f"{address} to stop answering",
            interval_s=0.01,
        )

    def _watch(self, rs: MongoCluster, member: Member) -> None:
        options: dict[str, Any] = {"serverSelectionTimeoutMS": 500, "connectTimeoutMS": 500, "socketTimeoutMS": 500}
        if rs.ca_file:
            options.update(tls=True, tlsCAFile=str(rs.ca_file))
        client: MongoClient[dict[str, Any]] = MongoClient(
            member.host, member.port, directConnection=True, retryReads=False, **options
        )
        self._clients.append(client)
        election: Any = None
        while not self._ending.is_set():
            asked_at = time.time()
            try:
                hello = client.admin.command("hello")
            except PyMongoError:
                self._lost.append((asked_at, member.address))
            else:
                if hello.get("isWritablePrimary") and hello.get("electionId") != election:
                    election = hello.get("electionId")
                    self._claims.append((time.time(), member.address, election))
            self._asked.add(member.name)
            self._ending.wait(self.interval_s)
