"""The workers of a cluster, seen from the driver: hired where there is room, asked, replaced."""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from absl import logging

from jaxmask.engine.batches import Batch, choose
from jaxmask.engine.grid import Ended, Grid
from jaxmask.engine.worker import Share, Worker, versions
from jaxmask.errors import InputError

HIRE = 2.0  # seconds between two looks at the nodes
STARTS = 2  # of workers of a node, that fail before it is refused
STOPPING = 120.0  # seconds for workers to save checkpoints; a step may have to be compiled first


class Died(NamedTuple):
    """A worker is gone, and why as far as Ray can tell."""

    why: str


@dataclass(eq=False)
class Member:
    """A worker: where it is, whether it may work, what it has compiled, and what it is doing."""

    actor: Any
    node: str
    host: str
    checked: bool = False
    compiled: set[Any] = field(default_factory=set)
    batch: Batch | None = None


class Crew:
    """All workers of a grid.

    Attributes:
      ray: the library, connected.
      share: what each worker uses.
      seen: a file that they must see, because they share the grid's folder.
      refused: why a node was refused, by its id.
      dropped: batches of workers whose node was refused, for `answers`.
    """

    def __init__(self, ray: Any, share: Share, seen: str, directory: str) -> None:
        self.ray, self.share, self.seen, self.directory = ray, share, seen, directory
        self.refused: dict[str, str] = {}  # why, by node
        self._asked: dict[Any, Member] = {}  # by what Ray will answer with
        self._members: list[Member] = []
        self._failed: dict[str, int] = {}  # starts in a row, by node
        self.dropped: list[tuple[Batch, Died]] = []
        self._versions = versions()  # of what is loaded: the files may change later
        self._looked = -math.inf
        self._hired = ray.remote(Worker)

    def busy(self) -> list[Member]:
        """The workers that are carrying out runs."""
        return [member for member in self._members if member.batch is not None]

    def hire(self, waiting: int) -> None:
        """Hires workers where there is room, at most as many as there are batches.

        Raises:
          InputError: all nodes are refused.
        """
        if time.monotonic() - self._looked < HIRE:
            return
        self._looked = time.monotonic()
        nodes = {node["NodeID"]: node for node in self.ray.nodes()}
        room = capacity(list(nodes.values()), self.share, self.refused)
        if not any(room.values()) and not self._members:
            raise InputError(next(iter(self.refused.values()), self._no_room()))
        for node, most in room.items():
            there = sum(member.node == node for member in self._members)
            for _ in range(most - there):
                if len(self._members) < waiting + len(self.busy()):
                    self._hire(node, nodes[node].get("NodeManagerHostname", node))

    def _no_room(self) -> str:
        gpus = f" and {self.share.gpus:g} GPUs" if self.share.gpus else ""
        return (
            f"no node of the cluster has {self.share.cpus} cores{gpus} for a worker; set "
            "--worker_cpus and --worker_gpus"
        )

    def _hire(self, node: str, host: str) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        hired = self._hired.options(
            num_cpus=self.share.cpus,
            num_gpus=self.share.gpus,
            max_restarts=0,
            max_concurrency=2,  # threads: its work, and the call that stops it
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        actor = hired.remote(self.share, self.directory)
        member = Member(actor, node, host)
        self._members.append(member)
        self._asked[actor.describe.remote(self.seen)] = member

    def assign(self, pending: list[Batch], grid: Grid) -> None:
        """Takes batches from those that are pending, for the workers that have nothing to do."""
        for member in self._members:
            if not pending or not member.checked or member.batch is not None:
                continue
            others = [other.compiled for other in self._members if other is not member]
            member.batch = choose(pending, member.compiled, set().union(*others))
            pending.remove(member.batch)
            member.compiled.add(member.batch.kind)
            names = member.batch.names
            mine = grid._replace(runs={name: grid.runs[name] for name in names}, planned={})
            call = member.actor.work.options(name=" + ".join(names)[:200])
            self._asked[call.remote(mine, names)] = member

    def answers(self, seconds: float) -> Iterator[tuple[Batch, list[Ended] | Died]]:
        """What became of batches within some seconds."""
        dropped, self.dropped = self.dropped, []
        yield from dropped
        if not self._asked:
            time.sleep(seconds)
            return
        for answer in self.ray.wait(list(self._asked), timeout=seconds)[0]:
            member = self._asked.pop(answer)
            batch, member.batch = member.batch, None
            try:
                found = self.ray.get(answer)
            except self.ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, OSError):  # a full disk, say
                    raise error.cause from None
                raise  # a fault of the program, with its traceback
            except self.ray.exceptions.RayError as error:
                self._lose(member, str(error))
                if batch is not None:
                    yield batch, Died(_line(str(error)))
                continue
            if not member.checked:
                self._check(member, found)
            elif batch is not None:
                yield batch, found

    def _check(self, member: Member, found: dict[str, str]) -> None:
        member.checked = True
        self._failed.pop(member.node, None)
        differ = [
            f"{name} {found.get(name, 'none')} (here {version})"
            for name, version in self._versions.items()
            if found.get(name) != version
        ]
        if differ:
            why = f"the node {member.host} has {', '.join(differ)}; install the same there"
            self._refuse(member.node, why)
        elif not found["sees"]:
            why = f"the node {member.host} does not see {self.seen}; share the --workdir"
            self._refuse(member.node, why)

    def _lose(self, member: Member, why: str) -> None:
        """Forgets a worker that has died; a node on which they cannot start is refused."""
        self.ray.kill(member.actor)  # it may be cut off, not dead
        self._members.remove(member)
        if not member.checked:
            self._failed[member.node] = self._failed.get(member.node, 0) + 1
            if self._failed[member.node] >= STARTS:
                self._refuse(
                    member.node, f"no worker starts on the node {member.host}: {_line(why)}"
                )

    def _refuse(self, node: str, why: str) -> None:
        self.refused[node] = why
        logging.warning("%s", why)
        for member in [each for each in self._members if each.node == node]:
            self.ray.kill(member.actor)
            self._members.remove(member)
            if member.batch is not None:
                self.dropped.append((member.batch, Died(why)))
            self._asked = {ref: each for ref, each in self._asked.items() if each is not member}

    def stop(self, number: int) -> None:
        """Has all workers save checkpoints, and waits for that."""
        busy = self.busy()
        for member in busy:
            member.actor.stop.remote(number)
        left = [ref for ref, member in self._asked.items() if member in busy]
        if left:
            self.ray.wait(left, num_returns=len(left), timeout=STOPPING)

    def dismiss(self) -> None:
        """Ends all workers."""
        for member in self._members:
            self.ray.kill(member.actor)
        self._members.clear()
        self._asked.clear()


def capacity(
    nodes: Sequence[dict[str, Any]], share: Share, refused: Collection[str]
) -> dict[str, int]:
    """How many workers fit on each node that lives and is not refused, by its id.

    Args:
      nodes: as `ray.nodes` gives them.
    """
    found = {}
    for node in nodes:
        if node["Alive"] and node["NodeID"] not in refused:
            there = node["Resources"]
            fits = [math.floor(there.get("CPU", 0.0) / share.cpus)]
            if share.gpus:
                fits.append(math.floor(there.get("GPU", 0.0) / share.gpus + 1e-6))
            found[node["NodeID"]] = min(fits)
    return found


def _line(text: str) -> str:
    """The last line of a message of Ray that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
