"""Every field that a config can have: its default, and one line on what it is."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

# name -> (default, what it is); a function of `defaults` fills in what the caller gives
Table = Mapping[str, tuple[Any, str]]

NETWORK: Table = {
    "name": ("lenet_300_100", "of a network in the package, or package.module:Class"),
    "width": (1.0, "a factor for the width of every layer"),
    "stem": ("", '"imagenet" or "cifar", of the ImageNet ResNets'),
    "pool": ("", 'of texts: "mean", "first" or "pooler"; "" is the start\'s, else "mean"'),
    "attention": ("", 'of texts: "dense" or "bigbird(...)"; "" is the start\'s, else "dense"'),
    "devices": (1, "that share its weights; the others share the batches"),
    "compute_dtype": ("float32", 'of activations; "bfloat16" on accelerators'),
    "axes": ((), 'what axes of weights mean, if names do not tell: (path regex, "layers in out")'),
}
EXPERIMENT: Table = {
    "recipe": (
        "",
        '"adapt", "cascade", "dense", "learn_scores", "lottery", "prune", "self_mask" or "tickets"',
    ),
    "seed": (0, "of all randomness; the same seed gives the same result"),
    "network": (NETWORK, ""),
    "compilation_cache": ("", 'a folder; "" is ~/.cache/jaxmask/xla, "off" disables it'),
}
DATA: Table = {
    "name": ("", "of a TFDS dataset, or digits, folder:PATH, hf:OWNER/NAME, text:FOLDER"),
    "classes": ((), "the classes kept, relabeled in this order; () is all"),
    "share": (1.0, "fraction of labels: of the training set, stratified"),
    "validation": (0.1, "fraction (from 1 on: number) of training examples held out"),
    "decode_size": (0, "side in pixels that images are cut to when decoded; 0 is off"),
    "size": (0, "side in pixels that the device resizes to; 0 is off"),
    "crop_padding": (0, "pixels around a random crop"),
    "flip": (False, "flip half of the images left to right"),
    "mean": ((), "per channel, in [0, 1]; () is the starting network's, or the data's"),
    "std": ((), "as mean"),
    "tokens": (128, "of a text at most; longer ones are cut"),
    "tokenizer": ("", 'of texts: its file, folder or checkpoint; "" is that beside the start'),
    "directory": ("", 'of TFDS; "" is $TFDS_DATA_DIR or ~/tensorflow_datasets'),
    "cache": ("", 'decoded images; "" is $JAXMASK_CACHE or ~/.cache/jaxmask'),
    "cache_gib": (8.0, "a split that is larger decoded is decoded in every epoch"),
    "memory_gib": (4.0, "a larger dataset is streamed to the device"),
}
TRAIN: Table = {
    "epochs": (1, "passes over the training examples"),
    "batch_size": (64, "examples per step"),
    "evaluation_batch": (512, "examples per step of evaluation"),
    "optimizer": ("sgd(momentum=0.9)", "of weights: any optax chain"),
    "learning_rate": (0.1, "peak rate of weights"),
    "mask_optimizer": ("sgd(momentum=0.9)", "of scores: any optax chain, and three of our own"),
    "mask_learning_rate": (50.0, "peak rate of scores"),
    "schedule": ("cosine", "constant, cosine(warmup_epochs=5), steps(epochs=(80, 120))"),
    "clip": (0.0, "largest gradient norm, of weights and of scores; 0 is off"),
    "statistics": ("update", 'of batch norms; "keep" trains with those of the starting network'),
    "label_smoothing": (0.0, "weight of the uniform distribution in the labels"),
    "patience": (0, "early stopping: epochs without a lower validation loss; 0 is off"),
    "select": ("accuracy", 'the epoch to keep: by validation "accuracy" or "loss"; or "last"'),
    "checkpoint_seconds": (60.0, "between checkpoints"),
    "scan_steps": (0, "steps per compiled scan; 0 makes scans of about two seconds"),
}
DENSE: Table = {
    "start": ("random", '"random", a run directory, a weight file, hub:OWNER/NAME, package:NAME'),
    "rules": (((".*", "train"),), '(path regex, "train" or "freeze"); the first match wins'),
}
SCORING: Table = {
    "examples_per_class": (10, "training images for criteria that need data, drawn once"),
    "batch_size": (256, "images at a time; does not change scores in eval mode"),
    "mode": ("eval", 'or "train": batch norms use batch statistics'),
}
PRUNE: Table = {
    "start": DENSE["start"],
    "head": ("start", 'as start has it; or "new": drawn for this task, trained, never pruned'),
    "rules": (
        ((".*/kernel", "mask"),),
        '(path regex, "mask" to prune or "freeze"), the first match wins; all others "train"',
    ),
    "initial": (
        "network",
        'the "mask" weights: as the network or start has them; kaiming, bi_modal, scores(snip())',
    ),
    "criterion": ("snip", '"grasp(temperature=200)"; of several: "stack(snip(), synflow())"'),
    "density": (0.1, 'fraction of the "mask" weights to keep, in (0, 1]'),
    "scope": ("global", 'or "layer", "erk"'),
    "shots": (1, "rounds of scoring and pruning until the density is reached"),
    "shot_schedule": ("exponential", 'or "linear"'),
    "scoring": (SCORING, ""),
    "mask_from": (
        "", "in place of scoring: a run directory or a file whose mask is taken; density 0 is its"
    ),
    "other_weights": (False, "take a mask_from that was found in other starting weights, too"),
}  # fmt: skip
LOTTERY: Table = {
    **PRUNE,
    "criterion": ("magnitude", PRUNE["criterion"][1]),
    "rounds": (10, "of training and pruning"),
    "round_schedule": (
        "exponential", 'removes the same fraction each time; "linear": the same number'
    ),
    "rewind_step": (0, "the step of the first training to rewind to"),
}  # fmt: skip
TICKETS: Table = {
    **LOTTERY,
    "head": ("new", LOTTERY["head"][1]),
    "tasks": ({}, "by its name, the fields of data in which each task differs from data"),
    "one_shot": (
        ("random", "magnitude", "snip"),
        "criteria whose masks of the starting weights are compared; on each task if on data",
    ),
    "mask_from": (
        "", "an earlier run, or a folder of mask files, whose masks are taken: no lottery is held"
    ),
}  # fmt: skip
LEARN_SCORES: Table = {
    **LOTTERY,
    "criterion": ("synflow", "of the tickets, found in rounds: " + PRUNE["criterion"][1]),
    "train_seeds": ((0, 1, 2), "of the initializations that learners are fitted to"),
    "validation_seeds": ((3,), "of those by which they are tuned and chosen"),
    "test_seeds": ((4,), "of those on which they are measured once"),
    "tickets": ("", 'a folder of lotteries that runs share; "" is in the run directory'),
    "levels": ((), "the rounds whose tickets are learned; () is the last"),
    "features": (
        ("magnitude", "snip", "grasp", "synflow"),
        "criteria, and of a weight itself: weight, norm, row_mean, column_mean, input_largest, "
        "input_mean, output_largest, output_mean, density",
    ),
    "scale": ("values", 'of features within a network, to [0, 1]: "values", or "ranks"'),
    "target": ("scores", 'of a ticket: its last scores, 0 where pruned; or "kept": 1 or 0'),
    "learners": (
        ("linear", "sgd", "tree", "forest", "boosting", "mlp"), "what is fitted, with its settings"
    ),
    "tuned": (
        ("mlp(optimizer='adam', rate=1e-3, batch_size=256)",
         "mlp(optimizer='adam', rate=1e-2, batch_size=256)"),
        "further settings, of which the best of each learner is kept as NAME_tuned",
    ),
}  # fmt: skip
ADAPT: Table = {
    "start": ("pretrain", '"pretrain": as this config says; else ' + DENSE["start"][1]),
    "head": ("new", 'random; "probe": a linear probe\'s; "text": CLIP\'s, of the class names'),
    "prompt": ("a photo of a {}.", "for a text head; {} is the class name"),
    "methods": (("linear_probe", "full", "mask"), "what to compare, in this order"),
}
VIEWS: Table = {
    "large_size": (0, "pixels of the two large views; 0 is the images' own size"),
    "small_size": (0, "pixels of the small views; 0 is about 3/7 of the large ones"),
    "small": (6, "how many small views"),
    "large_scale": ((0.14, 1.0), "least and largest area of a large view's crop"),
    "small_scale": ((0.05, 0.14), "least and largest area of a small view's crop"),
    "flip": (True, "mirror half of the views left to right"),
    "jitter": (0.8, "probability of changed colors"),
    "gray": (0.2, "probability of a gray view"),
    "blur": (0.5, "probability of a blurred view"),
}
FEW_LABELS: Table = {
    "shares": ((), "fractions of the training labels, such as (0.1, 0.01); () is off"),
    "draws": (3, "how often the labels of each share are drawn"),
    "validation": (0.2, "of the labels drawn: fraction (from 1 on: number) held out to choose by"),
    "methods": (("linear_probe", "full", "mask"), "what learns on them from the starting network"),
    "steps": (500, "about how many for each training, whatever the share"),
}
SELF_MASK: Table = {
    "start": ADAPT["start"],
    "methods": (("mask", "full"), "what to learn without labels, by the names of adapt's methods"),
    "loss": ("swav(prototypes=500)", "of views, with its settings: swav, simclr or dino"),
    "views": (VIEWS, ""),
    "adversarial_step": (0.0, "how far pixels of a view move to raise the loss; 0 is off"),
    "adversarial_mix": (1.0, "weight of the loss with that view, beside 1 for the plain one"),
    "watch_epochs": (5, "epochs between measurements by k-NN on the held-out images"),
    "watch_neighbors": (20, "of these measurements"),
    "least_spread": (0.01, "embeddings that are closer together have collapsed: training ends"),
    "least_dimensions": (1.1, "embeddings that spread over fewer have collapsed onto a line"),
    "few_labels": (FEW_LABELS, ""),
}
CASCADE: Table = {
    **{name: SELF_MASK[name] for name in SELF_MASK if name not in ("methods", "few_labels")},
    "method": ("mask", "what dispatcher and experts learn, by the names of adapt's methods"),
    "router": ("mixture(components=5)", "clusters of embeddings: mixture or kmeans(clusters=5)"),
    "controls": (("random", "long"), "experts of random images; one mask trained as long as all"),
    "experts_together": (0, "experts under one vmap; 0 is 1 on a CPU, else all"),
}
SWEEP: Table = {
    "grid": ((), "grids of jaxmask sweep, each of axes (field, values)"),
    "together": (0, "runs of a grid under one vmap; 0 is 1 on a CPU, else 16"),
}
# of the sections of methods, whose defaults `adapter.METHODS` and `EVALUATORS` have
METHOD = {
    "choices": "the values of the tuned field to try, compared on validation data",
    "tune": "the field of train that the choices set",
    "stages": "how many: of partial the last; of masks the first, 0 is all, -1 the last",
    "also": 'beside the mask: "norm" trains norms, if any, "scale" a factor per output channel',
    "rules": '(path regex, "mask" or "freeze"); () is the network\'s default',
    "head": 'train a new head; or "mask": mask a random one',
    "trainable_share": "fraction of the scores that is learned; the other weights stay on",
    "trainable_by": '"random", or "magnitude": the scores of the largest weights',
    "transform": "threshold, top_k, sign or levels, with its settings",
    "density": "in (0, 1]; 0 is the one found by mask, which must come before",
    "falling_epochs": "epochs over which the density falls linearly from 1; 0: constant",
    "scope": 'of the density: "layer", "global" or "erk"',
    "initial": "scores: constant, normal, magnitude, relative_magnitude, kaiming_uniform, shuffled",
    "rescale": "of masked weights by 1 / sqrt(density) of their layer",
    "rank": "of the updates",
    "scale": "of the updates; alpha / rank in the paper",
    "temperature": "of the votes, which weigh exp(similarity / temperature)",
    "iterations": "of L-BFGS, at most",
}
OF_SECTIONS = {
    "network": NETWORK, "data": DATA, "train": TRAIN, "scoring": SCORING, "views": VIEWS,
    "few_labels": FEW_LABELS,
}  # fmt: skip
OF_RECIPES = {
    "adapt": ADAPT, "dense": DENSE, "prune": PRUNE, "lottery": LOTTERY, "self_mask": SELF_MASK,
    "cascade": CASCADE, "learn_scores": LEARN_SCORES, "tickets": TICKETS,
}  # fmt: skip


def filled(table: Table, **given: Any) -> ConfigDict:
    """The defaults of a table as a config, with what is given in their place."""
    config = ConfigDict()
    for name, (default, _) in table.items():
        config[name] = filled(default) if isinstance(default, Mapping) else default
    config.update(given)
    return config


def about(recipe: str, field: str) -> str:
    """One line on a field of a recipe's config; "" if it is the user's own.

    Args:
      field: with dots, as on the command line.
    """
    *sections, name = field.split(".")
    if sections and sections[-1] in OF_SECTIONS:
        return OF_SECTIONS[sections[-1]].get(name, ("", ""))[1]
    if sections:
        return METHOD.get(name, "")
    table = {**EXPERIMENT, **SWEEP, **OF_RECIPES.get(recipe, {})}
    return table.get(name, ("", ""))[1]
