"""Adapt a trained network to a new task, and compare methods of doing so."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from jaxmask import adapter, files, report
from jaxmask.errors import InputError, check_numbers, nearest
from jaxmask.model import weights
from jaxmask.recipe import dense
from jaxmask.run import defaults, directory, evaluator, method, probed, result, starting, texts
from jaxmask.run import task as tasks
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.plan import below
from jaxmask.run.result import Result

Methods = Mapping[str, adapter.Method]
HEADS = ("new", "probe", "text")


def prepare(config: ConfigDict, methods: Methods = adapter.METHODS) -> Begin:
    """Checks what can be checked; returns a function that runs in a run directory.

    It adapts the starting weights with every method, and compares the methods: the result has one
    entry in `methods` for each. Each method, and the pretraining, has its own complete run
    directory below the run's. Random starting weights are drawn once for all methods and kept in
    `start.safetensors`.

    With `config.head == "probe"`, all methods that train begin at the head of a linear probe.

    Args:
      methods: those that train, by their names in `config.methods`.

    Raises:
      InputError: the config is invalid (or, during the run, a method's loss is never finite).
    """
    check_methods(config, methods)
    pretrain = config.start == "pretrain"
    start, about = starting.load_start(
        "random" if pretrain else config.start, config.network, starting.pixels(config.data),
        texts.of_words(config.data),
    )  # fmt: skip
    dataset = tasks.dataset_of(config, about)
    if len(dataset.validation.labels) == 0:
        raise tasks.none_held_out("adapt chooses on validation data", dataset)
    if pretrain:
        run_pretraining, normalization = pretraining(config)
    else:
        normalization = tasks.normalization_of(config.data, dataset, about)
    options = about.get("options", {})
    task = tasks.make_task(config.data, config.network, dataset, normalization, options)
    if config.head not in HEADS:
        raise InputError(f"head is {config.head!r}; it must be 'new', 'probe' or 'text'")
    if config.head == "text":
        start = starting.with_text_head(start, dataset.classes, config.prompt)
    start = starting.for_images(start, task)
    starting.check_fits(task, start)
    if "head" not in tasks.shapes(task)["params"]:
        raise InputError(
            f"{config.network.name} has no layer 'head', which every task learns anew; name its "
            "last layer so"
        )
    if config.head == "probe":
        probed.check(task, config)
    begins = {
        name: evaluator.fitted(name, adapter.EVALUATORS[name], task, config, draw)
        if name in adapter.EVALUATORS
        else method.trained(name, methods[name], config.methods[:index], task, config, draw)
        for index, name in enumerate(config.methods)
    }

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        before = None
        if pretrain:
            before = yield from run_pretraining(folder / "pretrain", None)
        begun = begun_from(folder, config, start, task)
        if config.head == "probe":
            begun = probed.with_probe(task, config, begun)
        results: dict[str, Result] = {}
        for name, begin in begins.items():
            results[name] = yield from begin(begun, folder / name, results)
        write_comparison(folder, list(results))
        return result.write(folder, compared(results, before))

    parts = {"pretrain": run_pretraining, **begins} if pretrain else begins
    planned = (each for name, begin in parts.items() for each in below(name, begin.planned))
    return Begin(run, tuple(planned))


def check_methods(config: ConfigDict, methods: Methods = adapter.METHODS) -> None:
    """Raises InputError for unknown methods, or methods with unequal numbers of choices."""
    known = [*adapter.EVALUATORS, *methods]
    if not config.methods:
        raise InputError(f"config.methods is empty; known: {', '.join(known)}")
    for name in config.methods:
        if not isinstance(name, str) or name not in known or name not in config:
            raise InputError(f"unknown method {name!r}{nearest(str(name), known)}")
        choices = config[name].choices
        check_numbers(f"{name}.choices", choices, 0)
        if len(set(choices)) < len(choices):
            raise InputError(f"{name}.choices has a value twice: {tuple(choices)}")
    if len(set(config.methods)) < len(config.methods):
        raise InputError(f"config.methods names a method twice: {tuple(config.methods)}")
    budgets = {name: len(config[name].choices) for name in config.methods}
    if len(set(budgets.values())) > 1 or 0 in budgets.values():
        raise InputError(
            "give every method the same number of choices, at least one; they have "
            + ", ".join(f"{name}: {count}" for name, count in budgets.items())
        )


def pretraining(config: ConfigDict) -> tuple[Begin, tasks.Normalization]:
    """The dense run that the `pretrain` section describes, and its normalization of images.

    Which dataset it learns, where that is, and how it is normalized, defaults to the task's.
    """
    section, data = config.pretrain, config.data
    made = defaults.dense("", 1)
    made.seed, made.network = config.seed, config.network
    made.data = section.data.copy_and_resolve_references()
    for field in ("name", "directory", "cache", "mean", "std", "tokenizer"):
        made.data[field] = section.data[field] or data[field]
    made.data.memory_gib = data.memory_gib
    made.train = section.train
    made.compilation_cache = config.compilation_cache
    dataset = tasks.dataset_of(made, {})
    normalization = tasks.normalization_of(made.data, dataset, {})
    made.data.mean, made.data.std = normalization
    return dense.prepare(made, dataset), normalization


def begun_from(
    folder: Path, config: ConfigDict, start: starting.Start, task: tasks.Task
) -> starting.Start:
    """The weights that all methods of a run start from: given, pretrained in it, or random.

    Random ones are kept in `start.safetensors`, because the tasks that start from them need them.
    """
    if config.start == "pretrain":
        found, _ = starting.load_start(str(folder / "pretrain"), config.network)
        return starting.for_images(found, task)
    if start.weights is not None:
        return start
    drawn = starting.random_weights(task, config.seed)
    about = tasks.about_network(config.network, task)
    weights.save(folder / "start.safetensors", drawn, about)
    return starting.Start(drawn, "random", head=True, head_in_base=True)


def draw(folder: Path, found: Result) -> None:
    """Draws the figures of a method's run directory."""
    report.figures.method(folder, found.method, found.density_by_leaf)


def write_comparison(folder: Path, methods: Sequence[str], *baselines: str) -> None:
    """Writes the figures and `table.md` of a run that compares methods.

    Args:
      baselines: networks to compare the others with image by image, in `paired.md`.
    """
    report.figures.comparison(folder, methods)
    table = report.tables.comparison(folder, methods)
    files.replace(folder / "table.md", report.tables.markdown(table))
    if baselines:
        paired = (
            report.paired.markdown(report.paired.table(folder, methods, each), each)
            for each in baselines
        )
        files.replace(folder / "paired.md", "\n".join(paired))


def compared(results: Mapping[str, Result], pretraining: Result | None) -> Result:
    """The result of the comparison: that of the best method on validation data."""
    best = max(results.values(), key=lambda found: found.validation_accuracy or 0.0)
    fields = ("accuracy", "validation_accuracy", "density", "mask_bits", "storage_bytes",
              "trained_numbers", "seconds")  # fmt: skip
    more = {
        "methods": {
            name: {
                **{field: getattr(found, field) for field in fields},
                "seconds_of_choices": found.more["seconds_of_choices"],
            }
            for name, found in results.items()
        },
        "pretraining_accuracy": pretraining and pretraining.accuracy,
        "runs": [*(["pretrain"] if pretraining else []), *results],
    }
    return best._replace(
        steps=sum(found.steps for found in results.values()),
        seconds=sum(found.seconds for found in results.values()),
        more=more,
    )
