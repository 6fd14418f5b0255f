"""Who may hold a lease: pure. One contender's view of a record that all contenders share, and its next move.

The backend offers two things: reading the record, and replacing it if it is still the one that was read (compare and
set). No contender reads another one's clock: a record counts as abandoned when it has been *seen* unchanged for the
whole ttl on the reader's own clock, so times are seconds of a clock that never stands still and is never set.

Invariant: at no instant two contenders hold. Proof. A holder counts its lease from the moment before it *sent* its
last acknowledged write, and as over `margin_s` before the ttl. A taker saw that write, or an older one, only after it
was sent, then waited for the ttl, and took only if no write came between. So the holder stops `margin_s` before the
taker starts, as long as their clocks' rates differ by less than `margin_s / ttl_s`. A write whose acknowledgement was
lost is not counted by who sent it; it changes the record all the same, and so can only delay a taker.

The proof needs a backend that forgets no acknowledged write. For one that may (Redis, at a failover) `settle_s` is
not 0: what is known ends with the place that told it, see `Terms`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional, Union

FREE = ""
"""The holder of a record that was given back."""


@dataclass(frozen=True)
class Record:
    """What the backend keeps. `token` rises with each holder, `beat` with each renewal."""

    holder: str
    token: int
    beat: int = 0


@dataclass(frozen=True)
class Terms:
    """How long things last, in seconds.

    `settle_s`: what a newly met server (another `place`) says does not count for so long, as it may have lost the last
    writes, and writes to its predecessor may still be acknowledged; until then and the ttl beyond it nobody takes.
    """

    ttl_s: float
    settle_s: float = 0.0

    @property
    def margin_s(self) -> float:
        """The holder stops so much earlier than another may start: for clocks that differ by up to a tenth in rate."""
        return self.ttl_s / 10

    @property
    def renew_s(self) -> float:
        """Between two renewals; three may fail before the lease is over."""
        return self.ttl_s * 0.28

    @property
    def look_s(self) -> float:
        """Between two looks of a contender, and between two attempts at a renewal that failed."""
        return min(0.5, self.ttl_s / 10)


@dataclass(frozen=True)
class View:
    """What one contender knows. Times are of its own clock."""

    me: str
    terms: Terms
    record: Optional[Record] = None  # as read last, or as written last and acknowledged
    read: bool = False  # False: something may have happened to it since
    place: str = ""  # who told it: another name where acknowledged writes may have been lost in between
    place_since: float = 0.0
    since: float = 0.0  # from when on the record was seen unchanged
    again_at: float = float("-inf")  # the next look
    sent_at: Optional[float] = None  # the last acknowledged write of its own, as long as its record is still there
    sent_to: str = ""  # its place
    sent: int = 0  # its token

    @property
    def mine(self) -> bool:
        """Whether the record names it as the holder, over or not."""
        return self.record is not None and self.record.holder == self.me

    @property
    def token(self) -> Optional[int]:
        """Of the lease that it held last, as long as nobody else is known to have taken it."""
        return self.sent if self.sent_at is not None else None

    @property
    def until(self) -> float:
        """When its lease is over, by its own clock; in the infinite past if it has none."""
        lasts_s = self.terms.ttl_s - self.terms.margin_s
        return float("-inf") if self.sent_at is None else self.sent_at + lasts_s


@dataclass(frozen=True)
class Look:
    """Read the record, not before `at`."""

    at: float


@dataclass(frozen=True)
class Write:
    """Replace `old` (None: there is no record) by `new`, not before `at`, and only at the same place."""

    old: Optional[Record]
    new: Record
    place: str
    at: float


Move = Union[Look, Write]


def next_move(view: View, now: float, wall_ms: int) -> Move:
    """What to do next, and when. `wall_ms`: epoch milliseconds, from which a token starts; nothing is timed by it.

    A token is at least that number, so that it rises even where the record, and with it the last token, was lost.
    """
    record = view.record
    if not view.read:
        return Look(view.again_at)
    if record is not None and view.mine and _may_go_on(view, now):
        # Without an acknowledged write it is one of ours whose answer was lost: confirm it at once.
        due = view.sent_at + view.terms.renew_s if view.sent_at is not None else now
        return Write(record, Record(view.me, record.token, record.beat + 1), view.place, due)
    free_at = _free_at(view)
    if free_at > view.again_at:
        return Look(view.again_at)
    token = max(record.token + 1 if record else 1, wall_ms)
    return Write(record, Record(view.me, token), view.place, free_at)


def _may_go_on(view: View, now: float) -> bool:
    """Whether its own record proves that nobody has taken the lease since: not if that could have been forgotten."""
    return not view.terms.settle_s or view.sent_to == view.place or now < view.until


def _free_at(view: View) -> float:
    """From when on the record may be taken."""
    settled_at = view.place_since + view.terms.settle_s
    if view.record is not None and view.record.holder == FREE:
        # Given back: at once, unless the one who says so may have forgotten that somebody has taken it since.
        return settled_at + view.terms.ttl_s if view.terms.settle_s else view.since
    return max(view.since, settled_at) + view.terms.ttl_s


def given_back(record: Record) -> Record:
    """What a holder that has stopped writes in place of its record."""
    return Record(FREE, record.token, record.beat + 1)


def looked(view: View, record: Optional[Record], place: str, at: float) -> View:
    """After a look; `at`: when its answer had arrived."""
    if view.place != place or not place:
        view = replace(view, place=place, place_since=at, since=at)
    elif view.record != record:
        view = replace(view, since=at)
    view = replace(view, record=record, read=True, again_at=at + view.terms.look_s)
    ours = record is not None and (record.holder, record.token) == (view.me, view.sent)
    return view if ours else replace(view, sent_at=None, sent_to="")


def wrote(view: View, write: Write, sent_at: float, at: float) -> View:
    """After a write that was acknowledged, sent at `sent_at`, or a little later."""
    view = replace(view, sent=write.new.token)
    return replace(looked(view, write.new, write.place, at), sent_at=sent_at, sent_to=write.place)


def refused(view: View, at: float) -> View:
    """After a write that found another record or another place: look anew, at once."""
    return replace(view, read=False, again_at=at)


def failed(view: View, at: float) -> View:
    """After a look or a write without an answer: what it did is not known. Look a little later."""
    return replace(view, read=False, again_at=at + view.terms.look_s)
