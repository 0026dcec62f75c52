"""Learn scores: predict, from what criteria say of initial weights, which of them a lottery keeps.

Lutz, Manai, Hitting the jackpot: optimizing neural networks with composite pruning strategies, ZHAW
2022, chapter 5.2 and appendix B.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxmask import files
from jaxmask.errors import InputError
from jaxmask.recipe import lottery
from jaxmask.report import learned_figures
from jaxmask.run import directory, fields, fitting, regressors, result, score_table
from jaxmask.run.composites import criterion
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.fitting import SPLITS, Candidate
from jaxmask.run.plan import below
from jaxmask.run.result import Result
from jaxmask.run.score_table import Table

TICKETS = "tickets"  # the folder of the lotteries


def prepare(config: ConfigDict) -> Begin:
    """Checks what can be checked; returns a function that runs in a run directory.

    1. A lottery of each seed of `train_seeds`, `validation_seeds` and `test_seeds`, in a run
       directory below `tickets`, or below the folder `config.tickets`, where other runs find it:
       with other features, another target or further seeds, nothing is trained again.
    2. A table: for each weight its features, of the initial weights, and the target, of the ticket.
    3. Each learner is fitted to the training seeds' rows. Of `tuned`, the settings are kept that
       find the largest share of the validation seeds' tickets.
    4. All are measured on the test seeds. Each is stored as `NAME/scores.safetensors`, which a
       config of `prune` or `lottery` names: `criterion="learned('.../NAME/scores.safetensors')"`.

    The result is that of the learner that finds the largest share of the validation seeds' tickets;
    its field `scores` is the path of its file. `table.md` has all of them.

    Raises:
      InputError: the config is invalid.
    """
    fitting.check(config)
    score_table.rows_of(config)
    if config.target == "scores" and criterion(config.criterion).sums_training:
        raise InputError(
            f"the criterion {config.criterion!r} is summed over training, and its scores are not "
            "kept: set target to 'kept'"
        )
    seeds = {split: tuple(config[f"{split}_seeds"]) for split in SPLITS}
    every = [seed for split in SPLITS for seed in seeds[split]]
    planned = lottery.prepare(lottery_of(config, every[0])).planned
    places = {seed: place(config, seed) for seed in every}

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        tables: dict[str, list[Table]] = {split: [] for split in SPLITS}
        tickets = []
        within = None if config.tickets else shared
        for split in SPLITS:
            for seed in seeds[split]:
                own, at = lottery_of(config, seed), folder / places[seed]
                tickets.append((yield from _lottery(config, own, at, within)))
                tables[split] += score_table.tables(config, own, at, within)
        found = fitting.fitted(config, tables, folder)
        _draw(config, tables, found, folder)
        files.replace(folder / "table.md", markdown(found))
        return result.write(folder, _whole(config, tables, tickets, found, folder))

    return Begin(run, tuple(each for seed in every for each in below(places[seed], planned)))


def place(config: ConfigDict, seed: int) -> Path:
    """The run directory of a seed's lottery: below that of the whole, or absolute."""
    tickets = Path(config.tickets).absolute() if config.tickets else Path(TICKETS)
    return tickets / f"seed_{seed}"


def lottery_of(config: ConfigDict, seed: int) -> ConfigDict:
    """The config of one lottery."""
    own = config.copy_and_resolve_references()
    with own.unlocked():
        for name in set(fields.LEARN_SCORES) - set(fields.LOTTERY):
            del own[name]
    own.recipe, own.seed = "lottery", seed
    return own


def _lottery(
    config: ConfigDict, own: ConfigDict, folder: Path, shared: Path | None
) -> Generator[Any, Any, Result]:
    """Prepared only now, so that one dataset at a time is in memory."""
    experiment = lottery.prepare(own)(folder, shared)
    if config.tickets:  # another run may be at it
        experiment = directory.alone_in(folder, own, experiment)
    return (yield from experiment)


def _draw(
    config: ConfigDict, tables: fitting.Tables, found: dict[str, Candidate], folder: Path
) -> None:
    names, columns = [*config.features, "target"], _columns(tables["train"])
    learned_figures.correlations(
        folder / "figures" / "correlations.png", names, fitting.correlations(columns)
    )
    learned_figures.histograms(folder / "figures" / "histograms.png", names, columns)
    curves = {name: each.curve for name, each in found.items() if len(each.curve)}
    learned_figures.curves(folder / "figures" / "learning_curve.png", curves)


def _columns(tables: Any) -> np.ndarray:
    """[F + 1, N]: the features and the target."""
    rows = fitting.joined(tables)
    return np.concatenate([rows.x, rows.y[:, None]], axis=1).T.astype(np.float64)


def markdown(found: dict[str, Candidate]) -> str:
    """A row for each learner, as the source's tables have them, and what it is good for."""
    title = ["learner", "R2 (train)", "R2 (test)", "MSE (train)", "MSE (test)",
             "rank correlation (test)", "found (test)"]  # fmt: skip
    lines = [title, ["---"] * len(title)]
    for name, each in found.items():
        train, test = each.metrics["train"], each.metrics["test"]
        lines.append([
            name, f"{train['r2']:.6f}", f"{test['r2']:.6f}", f"{train['mse']:.3e}",
            f"{test['mse']:.3e}", f"{test['rank_correlation']:.4f}", f"{test['found']:.2%}",
        ])  # fmt: skip
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _whole(
    config: ConfigDict,
    tables: fitting.Tables,
    tickets: list[Result],
    found: dict[str, Candidate],
    folder: Path,
) -> Result:
    best = max(found, key=lambda name: found[name].metrics["validation"]["found"])
    path = Path(best) / regressors.NAME
    alone = {
        text: fitting.metrics(tables["test"], [each.x[:, i] for each in tables["test"]])["found"]
        for i, text in enumerate(config.features)
    }
    return Result(
        recipe=config.recipe,
        method=best,
        dataset=tickets[0].dataset,
        seed=config.seed,
        accuracy=None,
        validation_accuracy=None,
        storage_bytes=(folder / path).stat().st_size,
        steps=sum(each.steps for each in tickets),
        seconds=sum(each.seconds for each in tickets),
        network=config.network.name,
        density=float(config.density),
        more={
            "scores": str(path),
            "learners": {
                name: {"settings": each.text, **each.metrics} for name, each in found.items()
            },
            "features": list(config.features),
            "found_by_feature": alone,
            "correlations": fitting.correlations(_columns(tables["train"])),
            "rows": {split: sum(len(each.y) for each in tables[split]) for split in SPLITS},
            "target_density": float(config.density),
            "ticket_accuracies": [each.accuracy for each in tickets],
        },
    )
