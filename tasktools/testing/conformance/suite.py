"""All behaviours, in one class to inherit."""

from __future__ import annotations

from tasktools.testing.conformance.claiming import Claiming
from tasktools.testing.conformance.consuming import Consuming
from tasktools.testing.conformance.dead_lettering import DeadLettering
from tasktools.testing.conformance.delaying import Delaying
from tasktools.testing.conformance.events import Events
from tasktools.testing.conformance.failing import Failing
from tasktools.testing.conformance.lifecycle import Lifecycle
from tasktools.testing.conformance.locking import Locking
from tasktools.testing.conformance.looking import Looking
from tasktools.testing.conformance.moving import Moving
from tasktools.testing.conformance.overhearing import Overhearing
from tasktools.testing.conformance.publishing import Publishing
from tasktools.testing.conformance.server import ServerKnowledge
from tasktools.testing.conformance.settings import Settings
from tasktools.testing.conformance.tapping import Tapping
from tasktools.testing.conformance.topics import Topics


class BrokerConformance(
    Publishing,
    Claiming,
    Consuming,
    Delaying,
    Failing,
    DeadLettering,
    Looking,
    Overhearing,
    Tapping,
    Moving,
    Topics,
    Settings,
    ServerKnowledge,
    Events,
    Locking,
    Lifecycle,
):
    """The behaviour of every `Broker`. A subclass has fixtures, and names what its backend `lacks`.

    Fixtures, all fresh for each test and closed by the subclass:

    * `broker`: a client of an empty cluster, with all rights that the backend knows;
    * `second_broker`: another client of the same cluster;
    * `read_only_broker`: a client of it that was opened with ``read_only=True``;
    * `backdoor`: a `Backdoor` to the same cluster.

    Sending is seen by others within five seconds, mostly at once: the tests wait for it.
    """
