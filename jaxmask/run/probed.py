"""A new head that is a linear probe of the starting network's features, not random."""

from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxmask.adapter import EVALUATORS
from jaxmask.errors import InputError
from jaxmask.run import evaluator, texts
from jaxmask.run.seeds import named_key
from jaxmask.run.starting import Start, starting_variables
from jaxmask.run.task import Task, shapes

NAME = "linear_probe"


def check(task: Task, config: ConfigDict) -> None:
    """Raises InputError if the network's head cannot be that of a probe."""
    EVALUATORS[NAME].check(config[NAME])
    texts.check_classifies(task.module, "head 'probe'")
    head = shapes(task)["params"]["head"]
    if set(head) != {"kernel", "bias"} or head["kernel"].ndim != 2:
        raise InputError(
            f"head is 'probe', and the layer 'head' of {config.network.name} is no dense layer "
            "with a bias; use 'new'"
        )


def with_probe(task: Task, config: ConfigDict, start: Start) -> Start:
    """The starting weights with a head by logistic regression.

    Its regularization is the best on validation data of `config.linear_probe.choices`. Training
    that begins at a random head distorts the features before the head is of use; one that begins
    at a probe does not (Kumar, Raghunathan, Jones, Ma, Liang, Fine-tuning can distort pretrained
    features and underperform out-of-distribution, 2022, https://arxiv.org/abs/2202.10054).

    Raises:
      InputError: features are not finite.
    """
    key = named_key(config.seed, "probe/weights")
    variables: dict[str, Any] = starting_variables(task, start, key)
    features = evaluator.feature_function(task, "head 'probe'")
    extracted = evaluator.extractor(task, features, variables, "head: the starting network")
    classifier, _, _ = evaluator.choose(
        NAME, EVALUATORS[NAME], config[NAME], len(task.dataset.classes), extracted("train"),
        extracted("validation"),
    )  # fmt: skip
    head = classifier.stored.arrays["params"]["head"]
    like = variables["params"]["head"]
    found = {name: jnp.asarray(leaf, like[name].dtype) for name, leaf in head.items()}
    variables = {**variables, "params": {**variables["params"], "head": found}}
    return Start(variables, start.source, head=True)
