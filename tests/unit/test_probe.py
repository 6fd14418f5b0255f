"""Real sockets, some of them bad: each bad one costs its deadline once and becomes the right kind of silence."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.certs import Authority
from lab.proxy import Proxy
from st2ha.config import Host
from st2ha.probe import Attempt, Silence, Silent, Unanswered, ask_all, connect

TIMEOUT_S = 1.0
LOOSE_S = 10.0


@pytest.fixture(scope="module")
def echo() -> Iterator[tuple[str, int]]:
    """A server that answers each line with itself."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(64):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()
    listener.close()


def ask(host: Host, attempt: Attempt) -> str:
    """Say hello and wait for the whole echo, as long as the attempt lasts."""
    with connect(host, attempt) as connection:
        connection.sendall(b"hello\n")
        heard = b""
        while not heard.endswith(b"\n"):
            connection.settimeout(attempt.left_s())
            heard += connection.recv(64)
    return heard.decode()


def of(proxy: Proxy) -> Host:
    return Host(proxy.host, proxy.port)


def test_answers_come_in_the_order_of_the_targets(echo: tuple[str, int]) -> None:
    with Proxy(echo) as one, Proxy(echo) as two:
        answers = ask_all([of(two), of(one)], ask, TIMEOUT_S)
        assert list(answers.items()) == [(of(two), "hello\n"), (of(one), "hello\n")]


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("refuse", Silence.REFUSED, "refused"),
        ("blackhole", Silence.UNREACHABLE, "no connection"),
        ("hang", Silence.HUNG, ""),
        ("drip", Silence.HUNG, ""),
    ],
)
def test_a_bad_server_becomes_a_fact_and_the_others_answer(
    echo: tuple[str, int], mode: str, kind: Silence, words: str
) -> None:
    with Proxy(echo) as good, Proxy(echo, mode=mode) as bad:
        began = time.monotonic()
        answers = ask_all([of(bad), of(good)], ask, TIMEOUT_S)
        assert time.monotonic() - began < LOOSE_S
        assert answers[of(good)] == "hello\n"
        silent = answers[of(bad)]
        assert isinstance(silent, Silent) and silent.kind is kind and words in silent.reason
        assert silent.after_s < LOOSE_S


def test_fifty_servers_of_which_each_fifth_is_bad_cost_one_deadline(echo: tuple[str, int]) -> None:
    modes = [
        ("hang", "blackhole", "drip", "refuse")[number // 5 % 4] if number % 5 == 0 else "pass" for number in range(50)
    ]
    timeout_s = 2.0  # fifty answers from one thread of proxies take their time on a busy machine
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(Proxy(echo, mode=mode)) for mode in modes]
        began = time.monotonic()
        answers = ask_all([of(proxy) for proxy in proxies], ask, timeout_s)
        assert time.monotonic() - began < timeout_s + 15
        kinds = {
            "hang": Silence.HUNG,
            "drip": Silence.HUNG,
            "blackhole": Silence.UNREACHABLE,
            "refuse": Silence.REFUSED,
        }
        for proxy, mode in zip(proxies, modes):
            answer = answers[of(proxy)]
            assert answer == "hello\n" if mode == "pass" else isinstance(answer, Silent) and answer.kind is kinds[mode]


def test_a_server_that_never_lets_go_costs_its_deadline_and_not_more() -> None:
    """Even where the asking function ignores its own deadline; its thread is left behind, its closer is called."""
    closed = threading.Event()
    end = threading.Event()

    def stubborn(host: Host, attempt: Attempt) -> str:
        attempt.accepted = True
        attempt.afterwards(closed.set)
        end.wait(20)
        return "too late"

    began = time.monotonic()
    answers = ask_all([Host("stubborn", 1)], stubborn, TIMEOUT_S)
    assert time.monotonic() - began < LOOSE_S
    silent = answers[Host("stubborn", 1)]
    assert silent == Silent(Silence.HUNG, "accepts connections, no answer within 1 s", TIMEOUT_S)
    assert closed.wait(5), "whatever it opened is closed behind it"
    end.set()


def test_what_was_opened_is_closed_after_the_answer(echo: tuple[str, int]) -> None:
    closed = threading.Event()

    def asking(host: Host, attempt: Attempt) -> str:
        attempt.afterwards(closed.set)
        return "answer"

    assert ask_all([Host("a", 1)], asking, TIMEOUT_S) == {Host("a", 1): "answer"}
    assert closed.wait(5)


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    host = Host("no-such-host.invalid", 27017)
    silent = ask_all([host], ask, 3)[host]
    assert isinstance(silent, Silent) and silent.kind is Silence.UNREACHABLE


def test_what_the_asking_function_can_name_is_kept() -> None:
    def asking(host: Host, attempt: Attempt) -> str:
        raise Unanswered(Silence.DENIED, "not with this password")

    silent = ask_all([Host("a", 1)], asking, TIMEOUT_S)[Host("a", 1)]
    assert isinstance(silent, Silent) and (silent.kind, silent.reason) == (Silence.DENIED, "not with this password")


def test_a_bug_of_ours_is_raised() -> None:
    def asking(host: Host, attempt: Attempt) -> str:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        ask_all([Host("a", 1)], asking, TIMEOUT_S)


def test_nobody_to_ask() -> None:
    assert ask_all([], ask, TIMEOUT_S) == {}


def test_a_tls_handshake_that_fails_is_told_in_the_words_of_openssl(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.expired("old"))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True):
            pass

    threading.Thread(target=serve, daemon=True).start()

    def asking(host: Host, attempt: Attempt) -> str:
        trusted = ssl.create_default_context(cafile=str(authority.ca_file))
        with connect(host, attempt) as plain, trusted.wrap_socket(plain, server_hostname="127.0.0.1"):
            return "trusted"

    host = Host("127.0.0.1", listener.getsockname()[1])
    silent = ask_all([host], asking, 5)[host]
    listener.close()
    assert isinstance(silent, Silent) and silent.kind is Silence.TLS
    assert silent.reason == "certificate has expired"
