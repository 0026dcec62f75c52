"""Lottery tickets: train, prune, rewind, repeat (Frankle and Carbin 2019).

With the criterion `magnitude` this is iterative magnitude pruning; any other criterion works too.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxmask import hosts, mask, prune, report
from jaxmask.errors import InputError, check_numbers
from jaxmask.run import directory, result, starting, tensorboard, ticket
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.initializer import make_initializer
from jaxmask.run.pruning import make_pruner
from jaxmask.run.result import Result
from jaxmask.run.trainer import Ready, Trainer, Training
from jaxmask.train import loop, movement
from jaxmask.train.checkpoint import Checkpoint, Checkpoints
from jaxmask.train.judge import Progress
from jaxmask.train.placement import device_copy
from jaxmask.train.state import State

REWIND = Path("level_00") / "rewind"  # the state at config.rewind_step


def prepare(config: ConfigDict) -> Begin:
    """Checks what can be checked; returns a function that runs in a run directory.

    Level 0 trains the whole network. Each of `config.rounds` rounds scores the trained weights,
    removes the same fraction of the remaining ones (`density^(i/rounds)` stays; or, by
    `config.round_schedule`, the same number), rewinds the rest to their values at
    `config.rewind_step`, and trains again: level i. `config.shots == 1` is iterative, single shot
    (ISS), more are iterative, many shots (IMS). Each level has its own run directory and result;
    the last level's result is that of the whole run. A criterion that brings pruned weights back
    scores them by their initial values.

    With `config.start`, the initial weights are pretrained ones, and every level is rewound to
    these. With `config.head == "new"`, their head gives way to a new one for the task, the same at
    every level, which is trained and never pruned; so the mask is one of the body, and fits other
    tasks (`mask_from` of the recipe `prune`).

    Raises:
      InputError: the config is invalid.
    """
    if config.mask_from:
        raise InputError(
            "mask_from is set, and a lottery finds its own masks: use the recipe 'prune'"
        )
    task, start = starting.task_of(config)
    pruner = make_pruner(task, config)
    initializer = make_initializer(task, config)
    sums = pruner.criterion.sums_training
    trainer = ticket.make_trainer(task, config, sum_movement=sums)
    check_numbers("rounds", [config.rounds], 1)
    check_numbers("rewind_step", [config.rewind_step], 0)
    if config.rewind_step and hosts.count() > 1:
        raise InputError(
            "rewind_step keeps a state on one host alone; set it to 0, or run without --distributed"
        )
    last_step = config.train.epochs * trainer.steps_per_epoch
    if sums and config.shots > 1:
        raise InputError(
            f"the criterion {pruner.criterion.name!r} is summed over training and prunes once per "
            "round: set shots to 1"
        )
    if config.rewind_step and config.rewind_step >= last_step:
        raise InputError(
            f"rewind_step {config.rewind_step} leaves nothing to train: training has "
            f"{last_step} steps; give a smaller one"
        )
    if config.density == 1:
        raise InputError("a lottery prunes: set density below 1, or use the recipe 'prune'")
    names = [f"level_{level:02d}" for level in range(config.rounds + 1)]
    shares = [1.0, *prune.densities(config.density, config.rounds, config.round_schedule)]

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        initial = ticket.initial_weights(task, start, config, folder, shared, initializer)
        masks = ticket.all_kept(initial.variables, pruner.labels)
        ready = ticket.ready(initial.variables, pruner.labels, masks)
        fit, found = yield from train_level(folder, 0, ready, initial)
        levels = [found]
        for level in range(1, config.rounds + 1):
            chosen = ticket.stored_mask(folder / names[level], masks)
            if chosen is None:
                chosen = masks_after(ready, fit, masks, level, initial)
            masks = chosen
            ready = ticket.ready(initial.variables, pruner.labels, masks)
            fit, found = yield from train_level(folder, level, ready, initial)
            levels.append(found)
        ticket.store_mask(folder, masks, ticket.about_mask(config, task), initial.base)
        ticket.save_trained(task, config, folder, ready, fit)
        tensorboard.levels(folder, config, levels)
        report.figures.method(folder, config.criterion, found.density_by_leaf)
        more = {
            **found.more,
            "target_density": float(config.density),
            "rounds": config.rounds,
            "initial": initial.about(folder),
            "runs": names,
        }
        whole = found._replace(
            seconds=sum(level.seconds for level in levels),
            # a rewound level starts counting at the rewind step
            steps=sum(level.steps for level in levels) - config.rounds * config.rewind_step,
            more=more,
        )
        return result.write(folder, whole)

    def masks_after(
        ready: Ready, fit: loop.Fit, masks: Any, level: int, initial: ticket.Initial
    ) -> Any:
        """The next level's mask, from the weights that the level before learned."""
        where, summed = f", round {level}", None
        if sums:
            if fit.diverged:
                raise InputError(
                    f"{config.criterion}{where}: the loss became infinite, and so did the sum "
                    "over training; lower train.learning_rate or set train.clip"
                )
            summed = jax.tree.map(
                lambda bits, leaf: None if bits is None else leaf,
                masks, movement.total(fit.last.optimizer["train"]),
                is_leaf=lambda node: node is None,
            )  # fmt: skip
        weights = ticket.trained(ready, fit)
        if pruner.criterion.revives:
            weights = ticket.unpruned(weights, initial.variables, masks)
        return pruner.prune(weights, shares[level], shares[level - 1], masks, where, summed)[0]

    def train_level(
        folder: Path, level: int, ready: Ready, initial: ticket.Initial
    ) -> Generator[Training, loop.Fit, tuple[loop.Fit, Result]]:
        """Trains one level, or restores it from its checkpoint; returns the fit and the result."""
        at, masks = folder / names[level], ready.frozen["kept"]
        own = config.copy_and_resolve_references()
        own.density, own.rounds = shares[level], level
        finished = directory.begin(at, own)
        ticket.store_mask(at, masks, ticket.about_mask(own, task), initial.base)
        step, keep, state = config.rewind_step, None, None
        if step and level == 0:
            keep = loop.Keep(step, lambda state: _keep_state(folder / REWIND, state))
        elif step:
            state = _rewound(folder / REWIND, trainer, ready, step)
        fit = yield from ticket.train(trainer, ready, at, f"{folder.name} {at.name}", keep, state)
        if finished is None:
            schedule = "ISS" if config.shots == 1 else "IMS"
            told = ticket.described(task, own, masks, schedule, initial, at)
            told = told._replace(more={**told.more, "rounds": level})
            told = ticket.tested(task, trainer, own, at, ready, fit, told)
            report.figures.method(at, told.method, told.density_by_leaf)
            finished = result.write(at, told)
        return fit, finished

    whole = trainer.planned
    rewound = whole._replace(steps=whole.steps - config.rewind_step)
    planned = [whole, *[rewound] * config.rounds]
    return Begin(run, tuple(each._replace(place=Path(at)) for each, at in zip(planned, names)))


def _keep_state(folder: Path, state: State) -> None:
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(Checkpoint(state, None, Progress()))


def _rewound(folder: Path, trainer: Trainer, ready: Ready, step: int) -> State:
    """The state that level 0 kept at `step`, with weights and optimizer state pruned.

    Raises:
      InputError: level 0 ended before `step`.
    """
    like = trainer.state(ready, {}, "ticket")
    with Checkpoints(folder) as checkpoints:
        found = checkpoints.restore(like)
    if found is None:
        raise InputError(
            f"{folder}: nothing was kept at rewind_step {step}: training stopped earlier; "
            "rewind to an earlier step, or raise train.patience"
        )
    kept = ready.frozen["kept"]
    restored = device_copy(found.state, like)
    weights = mask.pruned(kept, restored.learned["train"])
    return restored._replace(
        learned={**restored.learned, "train": weights},
        optimizer=mask.clear_moments(kept, restored.optimizer, weights),
    )
