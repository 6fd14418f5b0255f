"""The pack's action about StackStorm's own services, which changes nothing. Entry files call this."""

from __future__ import annotations

import time
from typing import Optional

from st2ha.config import Deployment
from st2ha.platform.assess import assess, healthy_words
from st2ha.platform.facts import Snapshot
from st2ha.platform.gather import gather
from st2ha.platform.scene import Scene
from st2ha.platform.settings import Stackstorm
from st2ha.report import Report

TITLE = "StackStorm"
BETTER = ("auth", "sensors", "content")
"""Layers that tell some of this better; where a deployment has them, it is left to them."""


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """Ask the API, every node's endpoints, the VIP's, and the insides of the nodes."""
    began = time.monotonic()
    settings: Stackstorm = deployment.require("stackstorm", timeout_s)
    scene = scene_of(deployment, settings, gather(settings, elsewhere(deployment)))
    return Report(TITLE, healthy_words(scene), assess(scene), scene.snapshot.rows(), time.monotonic() - began)


def elsewhere(deployment: Deployment) -> frozenset[str]:
    return frozenset(layer for layer in BETTER if getattr(deployment, layer, None) is not None)


def scene_of(deployment: Deployment, settings: Stackstorm, snapshot: Snapshot) -> Scene:
    """What the rules look at: the snapshot, and what the deployment's other layers say about the cluster."""
    brokers = deployment.rabbitmq.amqp_hosts if deployment.rabbitmq is not None else ()
    databases = deployment.mongodb.hosts if deployment.mongodb is not None else ()
    return Scene(
        snapshot=snapshot,
        settings=settings,
        now=snapshot.at,
        elsewhere=elsewhere(deployment),
        brokers=tuple(str(host) for host in brokers),
        databases=tuple(str(host) for host in databases),
    )
