"""The training loop: epochs of compiled scans, validation, early stopping, checkpoints.

Runs with the same programs and shapes can be trained together, stacked along a new axis under
`vmap`: each has its own order of examples, records, early stopping and checkpoints.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from jaxmask import hosts, signals, tree
from jaxmask.errors import Interrupted
from jaxmask.train.checkpoint import Best, Checkpoint, Checkpoints
from jaxmask.train.epoch import Programs
from jaxmask.train.feed import ahead, cut, training_order
from jaxmask.train.job import Fit, Job, Keep, Settings, Watch
from jaxmask.train.judge import DIVERGED, PATIENCE, Progress, judge
from jaxmask.train.lanes import Lanes
from jaxmask.train.placement import device_copy, host_copy
from jaxmask.train.progress import Bar
from jaxmask.train.records import Records
from jaxmask.train.stack import average, chunks
from jaxmask.train.state import State, Tree

__all__ = ["Fit", "Job", "Keep", "Settings", "Watch", "fit", "fit_together"]

HISTOGRAMS = 20  # of the scores, per run


def fit(programs: Programs, job: Job) -> Fit:
    """Trains `job.state.learned`, or resumes from the checkpoint in its folder.

    Raises:
      Interrupted: by SIGTERM or Ctrl-C; a checkpoint was saved.
      InputError: a checkpoint in the folder does not fit.
    """
    return fit_together(programs, [job])[0]


def fit_together(programs: Programs, jobs: Sequence[Job]) -> list[Fit]:
    """`fit` for each job: jobs at the same step are trained as one program under `vmap`.

    The jobs have feeds of equal sizes, states of equal shapes, and settings that differ only in
    the seed. A job that ends early waits for the others; its result is that of its own end.
    """
    signals.obey()
    with ExitStack() as opened:
        runs = [
            _open(job, opened.enter_context(Checkpoints(job.folder / "checkpoints")))
            for job in jobs
        ]
        for step in sorted({run.step for run in runs}):
            equal = [run for run in runs if run.step == step and not run.ended]
            if equal:
                _train(programs, equal)
        return [_fitted(run) for run in runs]


@dataclass
class _Run:
    """A running job."""

    job: Job
    checkpoints: Checkpoints
    state: State  # as last saved
    best: Best
    progress: Progress
    step: int
    density: float | None = None
    records: Records = field(init=False)

    @property
    def ended(self) -> bool:
        return self.progress.ended is not None or self.step >= self.job.steps


@dataclass
class _Clock:
    """Seconds since training started or resumed, and how many the device waited for data."""

    began: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    waited: float = 0.0

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def wait(self, seconds: float) -> None:
        self.waited += seconds

    def due(self, every: float) -> bool:
        return time.monotonic() - self.saved >= every


@dataclass
class _Session:
    """Runs trained together, from their common step to their ends."""

    lanes: Lanes
    runs: list[_Run]
    first: int
    bar: Bar
    signals: list[int]
    clock: _Clock
    before: list[Progress]  # of each run, when the clock started
    active: list[int]  # the indices of the runs that have not ended


def _open(job: Job, checkpoints: Checkpoints) -> _Run:
    """The job at its start, or at its checkpoint."""
    state, progress = job.state, Progress()
    best = Best(*host_copy((state.learned, state.batch_stats)))
    found = checkpoints.restore(state)
    if found is not None:
        # with the shardings of `state`, because the programs were compiled for those
        state, progress = device_copy(found.state, state), found.progress
        best = found.best or best
    return _Run(job, checkpoints, state, best, progress, int(state.step))


def _fitted(run: _Run) -> Fit:
    chosen = run.progress.chosen or {"epoch": 0}
    return Fit(
        learned=run.best.learned,
        batch_stats=run.best.batch_stats,
        validation={key: chosen[key] for key in ("loss", "accuracy") if key in chosen},
        epoch=chosen["epoch"],
        steps=run.step,
        seconds=run.progress.seconds,
        waited=run.progress.waited / max(run.progress.seconds, 1e-9),
        stopped_early=run.progress.ended == PATIENCE,
        diverged=run.progress.ended == DIVERGED,
        last=run.state,
        fault="" if run.progress.ended in (None, PATIENCE, DIVERGED) else run.progress.ended,
        watched=run.progress.watched,
    )


def _train(programs: Programs, runs: list[_Run]) -> None:
    """Trains runs at the same step until each has ended."""
    job, first, clock = runs[0].job, runs[0].step, _Clock()
    with ExitStack() as opened:
        for run in runs:
            run.records = opened.enter_context(Records(run.job.folder, first))
        title = f"{job.title} and {len(runs) - 1} more" if len(runs) > 1 else job.title
        session = _Session(
            lanes=Lanes(programs, [run.job for run in runs], [run.state for run in runs]),
            runs=runs,
            first=first,
            bar=opened.enter_context(Bar(title, job.steps, first)),
            signals=opened.enter_context(signals.noted()),
            clock=clock,
            before=[run.progress for run in runs],
            active=list(range(len(runs))),
        )
        data = opened.enter_context(closing(ahead(_pieces(runs, first), clock.wait)))
        for epoch in range(first // job.steps_per_epoch, job.settings.epochs):
            _epoch(session, epoch, data)
            if not session.active:
                break
            _pause(session)
        _pause(session)


def _pieces(runs: Sequence[_Run], first: int) -> Iterator[Tree]:
    """The data of the scans, from step `first` to the end of the last epoch."""
    job = runs[0].job
    longest = min(job.settings.scan_steps, job.train.longest(job.settings.batch_size))
    for epoch in range(first // job.steps_per_epoch, job.settings.epochs):
        begin = epoch * job.steps_per_epoch
        step = max(first, begin)
        orders = [
            training_order(run.job.train, run.job.settings.seed, epoch, job.settings.batch_size)[
                step - begin :
            ]
            for run in runs
        ]
        lengths = _lengths(step, begin + job.steps_per_epoch, longest, job.keep)
        yield from chunks([run.job.train for run in runs], orders, lengths)


def _lengths(step: int, end: int, longest: int, keep: Keep | None) -> list[int]:
    """Lengths of the scans from `step` to `end`, with a cut at the step to keep, if any."""
    marks = [step, *([keep.step] if keep and step < keep.step < end else []), end]
    return [length for a, b in pairwise(marks) for length in cut(b - a, longest)]


def _epoch(session: _Session, epoch: int, data: Iterator[Tree]) -> None:
    """Trains to the end of an epoch, evaluates, writes records and keeps the best."""
    began, waited = session.clock.seconds(), session.clock.waited
    training = _scans(session, epoch, data)
    validation = session.lanes.evaluate(session.clock.wait)
    seconds = session.clock.seconds() - began
    timed: dict[str, float] = {}
    if session.lanes.streams:  # records of resident data contain no times
        share = (session.clock.waited - waited) / seconds
        timed = {"waited": round(share, 4)}
    for index in list(session.active):
        run = session.runs[index]
        run.density = session.lanes.density(index)
        _record(run, session.lanes.one(index), epoch, training[index], validation[index], timed)
        if session.first <= epoch * run.job.steps_per_epoch:  # not of the rest of an epoch
            end = (epoch + 1) * run.job.steps_per_epoch
            run.records.board.scalar("seconds/epoch", seconds, end)
        _choose(run, session.lanes.one(index), epoch, training[index], validation[index])
        _watch(run, session.lanes.one(index), epoch, training[index])
        if epoch + 1 == run.job.settings.epochs or run.progress.ended:
            _save_one(session, index)
            session.active.remove(index)


def _scans(session: _Session, epoch: int, data: Iterator[Tree]) -> list[dict[str, float]]:
    """Trains to the end of an epoch, scan by scan; returns each run's means over it."""
    job = session.runs[0].job
    end = (epoch + 1) * job.steps_per_epoch
    step, means = session.lanes.read()
    if step == epoch * job.steps_per_epoch:
        session.lanes.begin_epoch()
    while step < end:
        session.lanes.scan(next(data))
        step, means = session.lanes.read()
        examples = (step - session.first) * job.settings.batch_size * len(session.runs)
        shown = average(means)
        session.bar.update(step, examples, **shown, density=session.runs[0].density)
        if job.keep is not None and step == job.keep.step:
            _hand_out(session)
        # Not after an epoch's last scan: its validation comes first, or it could never be chosen.
        if step < end:
            _pause(session)
    return means


def _hand_out(session: _Session) -> None:
    """Passes each run's state to its `keep` function."""
    for index in session.active:
        keep = session.runs[index].job.keep
        if keep is not None:
            keep.write(session.lanes.one(index))


def _record(
    run: _Run,
    state: State,
    epoch: int,
    training: dict[str, float],
    validation: dict[str, float],
    timed: dict[str, float],
) -> None:
    """Records an epoch: metrics, and for some epochs histograms of the scores."""
    end, epochs = (epoch + 1) * run.job.steps_per_epoch, run.job.settings.epochs
    run.records.write(end, epoch + 1, "train", **training, density=run.density, **timed)
    if validation:
        run.records.write(end, epoch + 1, "validation", **validation)
    if epoch + 1 == epochs or epoch % max(epochs // HISTOGRAMS, 1) == 0:
        scores = tree.named_leaves(state.learned.get("scores", {}))
        run.records.board.histograms("scores", scores, end)


def _choose(
    run: _Run, state: State, epoch: int, training: dict[str, float], validation: dict[str, float]
) -> None:
    """Judges an epoch, and keeps its weights if it is the best so far."""
    settings, chosen = run.job.settings, run.progress.chosen
    run.progress = judge(
        run.progress, training, validation, epoch + 1, settings.patience, settings.select
    )
    if run.progress.chosen is not chosen:
        run.best = Best(*host_copy((state.learned, state.batch_stats)))


def _watch(run: _Run, state: State, epoch: int, training: dict[str, float]) -> None:
    """Measures what the job wants to watch, and ends a run with a fault."""
    watch, epochs = run.job.watch, run.job.settings.epochs
    if watch is None or run.progress.ended == DIVERGED:
        return
    if (epoch + 1) % watch.every == 0 or epoch + 1 == epochs:
        end, measured = (epoch + 1) * run.job.steps_per_epoch, watch.measure(state)
        run.records.write(end, epoch + 1, "watched", **measured)
        run.progress = run.progress._replace(watched=measured)
        training = {**training, **measured}
    if fault := watch.fault(training):
        run.progress = run.progress._replace(ended=fault)


def _save(session: _Session) -> None:
    """Saves a checkpoint of every run that has not ended."""
    for index in session.active:
        _save_one(session, index)
    session.clock.saved = time.monotonic()


def _save_one(session: _Session, index: int) -> None:
    run, before = session.runs[index], session.before[index]
    run.state = session.lanes.one(index)
    run.step = int(run.state.step)
    run.progress = run.progress._replace(
        seconds=before.seconds + session.clock.seconds(),
        waited=before.waited + session.clock.waited,
    )
    best = run.best if run.progress.chosen else None
    if hosts.leads():  # all resume from its checkpoints
        run.checkpoints.save(Checkpoint(run.state, best, run.progress))


def _pause(session: _Session) -> None:
    """Saves checkpoints if that is due, or if a signal is to end the run: on all hosts at once."""
    due = session.clock.due(session.runs[0].job.settings.checkpoint_seconds)
    number = session.signals[0] if session.signals else 0
    if hosts.count() > 1:
        number, due = hosts.largest(number), bool(hosts.agreed(np.int32(due)))
    if number or due:
        _save(session)
    if number:
        raise Interrupted(number)
