"""The capacity widget: what if there were more traffic, longer tasks, other workers, another limit.

`facts` is what is recorded, `state` holds every rule, `feed` is the thread that simulates, `cost`
reads a price, `answer_text` puts the answer into words, `picture` draws it for a saved notebook,
`view` binds all.
"""

from tasktools.widgets.capacity.state import CapacityState
from tasktools.widgets.capacity.view import CapacityWidget, capacity

__all__ = ("CapacityState", "CapacityWidget", "capacity")
