"""The drain's look into StackStorm's queues, on a real cluster: what it counts, and what it does not take for empty."""

from __future__ import annotations

import os
from urllib.parse import quote

import pytest

from lab.rabbitmq import RabbitCluster
from lab.wait import wait_for
from st2ha.errors import HaError
from st2ha.upgrade.queues import QUEUES, Queues

PLAIN = "plain"
pytestmark = pytest.mark.timeout(300)


def queues_of(rabbit: RabbitCluster, *members: int) -> Queues:
    """By some of the members, in their order; the vhost has no mirrors."""
    login = rabbit.logins["st2"]
    return Queues([f"amqp://st2:{login.password}@{rabbit.amqp_hosts[number]}/{PLAIN}" for number in members], 10.0)


def make(rabbit: RabbitCluster) -> None:
    """A vhost with two messages in a queue of the third node."""
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    rabbit.api("rabbit1", "PUT", f"/api/vhosts/{PLAIN}", {})
    for user in rabbit.logins:
        rabbit.api("rabbit1", "PUT", f"/api/permissions/{PLAIN}/{user}", everything)
    rabbit.declare(QUEUES[0], "classic", vhost=PLAIN, at="rabbit3")
    rabbit.publish(QUEUES[0], 2, vhost=PLAIN, at="rabbit3")


def test_messages_are_counted_and_a_lost_connection_is_made_anew(rabbit: RabbitCluster) -> None:
    make(rabbit)
    with queues_of(rabbit, 0) as queues:
        assert queues.messages() == 2 == queues.messages()
        rows = wait_for(lambda: rabbit.api("rabbit1", "GET", f"/api/vhosts/{PLAIN}/connections"), 30, "the connection")
        rabbit.api("rabbit1", "DELETE", f"/api/connections/{quote(rows[0]['name'])}")
        assert queues.messages() == 2


@pytest.mark.skipif(not os.environ.get("ST2HA_TEST_LONG"), reason="ST2HA_TEST_LONG runs it: a broker node dies, 15 s")
def test_a_queue_whose_node_is_down_is_not_empty(rabbit: RabbitCluster) -> None:
    make(rabbit)
    with queues_of(rabbit, 2, 0) as queues:
        assert queues.messages() == 2
        rabbit.kill("rabbit3")
        with pytest.raises(HaError, match=r"could be asked.*down or inaccessible"):
            queues.messages()
