"""Checkpoints of a training run: the state at the last save, and the best weights so far."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import orbax.checkpoint as ocp

from jaxmask import hosts
from jaxmask.errors import InputError
from jaxmask.train.judge import Progress
from jaxmask.train.placement import host_copy
from jaxmask.train.state import State, Tree

ROOM = 1.1  # disk space needed, as a multiple of the arrays' bytes
LEAST_ROOM = 2**20


class Best(NamedTuple):
    """The learned trees and batch statistics of the best epoch, on the host."""

    learned: dict[str, Tree]
    batch_stats: Tree


class Checkpoint(NamedTuple):
    """What a run needs to resume: its state, its best weights, the progress of the loop."""

    state: State
    best: Best | None
    progress: Progress


class Checkpoints:
    """The folder `checkpoints/` of a run directory, written by orbax without blocking.

    One step is kept: incomplete saves do not count, complete ones replace the one before.
    `last` is the state, `best` the best weights, `progress` that of the training loop; all three
    from the same moment, so that a resumed run continues as if it had never stopped.
    """

    def __init__(self, folder: Path) -> None:
        # with many hosts, each looks after its own folder
        mine = {jax.process_index()} if hosts.count() > 1 else None
        if mine:
            folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            create=not mine,  # orbax would, on one host alone
            max_to_keep=1,
            enable_async_checkpointing=True,
            cleanup_tmp_directories=True,
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=jax.process_index() if mine else 0,
                active_processes=mine,
                barrier_sync_key_prefix=f"host{jax.process_index()}" if mine else None,
            ),
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        self._folder = folder

    def save(self, checkpoint: Checkpoint) -> None:
        """Starts writing; returns once the arrays are copied, so that they may be donated.

        Raises:
          OSError: the disk is full, or an earlier save failed.
        """
        host = host_copy(checkpoint.state)
        step = int(host.step)
        if step in self._manager.all_steps():
            return
        items = {
            "last": ocp.args.StandardSave(host._asdict()),
            "progress": ocp.args.JsonSave(checkpoint.progress._asdict()),
        }
        if checkpoint.best is not None:
            items["best"] = ocp.args.StandardSave(checkpoint.best._asdict())
        self._check_room((host, checkpoint.best))
        with self._storage_errors():
            self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(self, like: State) -> Checkpoint | None:
        """The newest complete checkpoint, or None if there is none yet.

        Args:
          like: a state of the same structure, shapes and dtypes.

        Raises:
          InputError: the checkpoint does not fit the network or cannot be read.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        state = host_copy(like)
        best = Best(state.learned, state.batch_stats)
        try:
            told = self._manager.restore(
                step, args=ocp.args.Composite(progress=ocp.args.JsonRestore())
            )["progress"]
            progress = Progress(**told)
            items = {"last": ocp.args.StandardRestore(state._asdict())}
            if progress.chosen:
                items["best"] = ocp.args.StandardRestore(best._asdict())
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
            _check_shapes(state._asdict(), restored["last"])  # orbax does not check them
        except (ValueError, KeyError, TypeError, OSError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise InputError(
                f"the checkpoint {self._folder / str(step)} cannot be read ({reason}); "
                "delete the run directory to start again"
            ) from None
        return Checkpoint(
            state=State(**restored["last"]),
            best=Best(**restored["best"]) if progress.chosen else None,
            progress=progress,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        """Waits until everything is on disk."""
        with self._storage_errors():
            self._manager.close()

    def _check_room(self, trees: Tree) -> None:
        """Checks disk space before writing: orbax's errors on a full disk are pages long."""
        needed = ROOM * sum(leaf.nbytes for leaf in jax.tree.leaves(trees)) + LEAST_ROOM
        if shutil.disk_usage(self._folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Turns tensorstore's errors for a full or read-only disk into OSErrors."""
        try:
            yield
        except ValueError as error:
            code = re.search(r"os_error_code='(\d+)'", str(error))
            if code is None:
                raise
            number = int(code[1])
            raise OSError(number, os.strerror(number), str(self._folder)) from None


def _check_shapes(wanted: Tree, found: Tree) -> None:
    for (path, leaf), other in zip(
        jax.tree_util.tree_flatten_with_path(wanted)[0], jax.tree.leaves(found), strict=True
    ):
        if leaf.shape != other.shape:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{name} has shape {other.shape}, not {leaf.shape}")
