"""The faults, as `@fault` puts them down: what is injected and what should be the answer."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from tests.faults import injected
from tests.faults.world import World

Truth = Callable[[], object]
Story = Iterator[Any]
"""What is before its first `yield` prepares, what is after it injects. A second `yield` may give
a question, such as to the broker, whose true answer shows that the fault is there."""
Inject = Callable[[World], Story]

Kind = Literal["fault", "healthy", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault with what is expected of the diagnosis.

    *expect* are checks, or ``check:subject``, any of which is the true cause; it shall be in the
    first two rows *within* s after the injection. *peer* and *ours* workers of capacity 4 run
    before it. The cluster is watched for *baseline* s before it and *watch* s after it. A *solo*
    fault strikes the whole node, so that nothing may run beside it; one with an *own_node* has a
    node of its own, on which no more than *open_files* may be open. It is injected on RabbitMQ
    from *since* on. Nothing shall be found in a *healthy* cluster, or where the evidence is
    *unclear*; of that, *expect* are the checks that cannot tell.
    """

    name: str
    inject: Inject
    kind: Kind = "fault"
    expect: tuple[str, ...] = ()
    within: float = 30.0
    peer: int = 1
    ours: int = 0
    watch: float = 32.0
    baseline: float = 20.0
    solo: bool = False
    own_node: bool = False
    open_files: int | None = None
    since: tuple[int, int] = (0, 0)
    management: bool = True
    has_loud: bool = True


FAULTS: Final[dict[str, Fault]] = {}


def fault(
    name: str,
    *expect: str,
    within: float = 30.0,
    peer: int = 1,
    ours: int = 0,
    watch: float | None = None,
    baseline: float = 20.0,
    solo: bool = False,
    own_node: bool = False,
    open_files: int | None = None,
    since: tuple[int, int] = (0, 0),
) -> Callable[[Inject], Inject]:
    """Put down a fault."""

    def put_down(inject: Inject) -> Inject:
        _add(
            Fault(
                name=name,
                inject=inject,
                expect=expect,
                within=within,
                peer=peer,
                ours=ours,
                watch=within + 2 if watch is None else watch,
                baseline=baseline,
                solo=solo,
                own_node=own_node or open_files is not None,
                open_files=open_files,
                since=since,
            )
        )
        return inject

    return put_down


def healthy(name: str, *, watch: float, peer: int = 1, ours: int = 0) -> Callable[[Inject], Inject]:
    """Put down something that is no fault, however it looks."""

    def put_down(inject: Inject) -> Inject:
        _add(
            Fault(
                name=name,
                inject=inject,
                kind="healthy",
                watch=watch,
                peer=peer,
                ours=ours,
                has_loud=False,
            )
        )
        return inject

    return put_down


def unclear(
    name: str,
    *untold: str,
    watch: float = 32.0,
    baseline: float = 20.0,
    peer: int = 1,
    ours: int = 0,
    own_node: bool = False,
    management: bool = True,
    has_loud: bool = False,
) -> Callable[[Inject], Inject]:
    """Put down a case in which there is not enough evidence for any finding, and the checks
    *untold* say that they cannot tell.

    Without *management*, the management API is not used. With *has_loud*, it is run with a loud
    change beside it, too, as faults are.
    """

    def put_down(inject: Inject) -> Inject:
        _add(
            Fault(
                name=name,
                inject=inject,
                kind="unclear",
                expect=untold,
                watch=watch,
                baseline=baseline,
                peer=peer,
                ours=ours,
                own_node=own_node,
                management=management,
                has_loud=has_loud,
            )
        )
        return inject

    return put_down


def _add(entry: Fault) -> None:
    if entry.name in FAULTS:
        raise ValueError(f"There are two faults called {entry.name!r}.")
    FAULTS[entry.name] = entry


def load() -> dict[str, Fault]:
    """Return all faults, by name, in the order of their modules."""
    for module in pkgutil.iter_modules(injected.__path__):
        importlib.import_module(f"{injected.__name__}.{module.name}")
    return FAULTS
