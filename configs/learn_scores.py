r"""Scores learned from lottery tickets: which weights does an informed ticket keep?

    jaxmask run --config=learn_scores:mnist --workdir=runs/learn_scores
    jaxmask run --config=mnist_composite --workdir=runs/learned \
        --config.criterion="learned('runs/learn_scores/mlp/scores.safetensors')"

- `mnist`: LeNet-300-100, with the settings of `mnist_composite`. Tickets of iterative many-shot
  SynFlow (ten rounds of ten shots) at density 0.005; features: the scores of magnitude, SNIP, GraSP
  and SynFlow on the initial weights. The seeds begin at 100, so that none of a comparison's is
  among them.
- `extended`: with the weight, its layer's norm, activations, and means of rows and columns besides.
- `digits`: the same of a tiny network, in a minute.

No results yet.
"""

from ml_collections import ConfigDict

from jaxmask.recipe import defaults

MODES = ("digits", "mnist", "extended")
MORE = ("weight", "norm", "row_mean", "column_mean", "input_largest", "input_mean",
        "output_largest", "output_mean")  # fmt: skip


def get_config(mode: str = "digits") -> ConfigDict:
    """The experiment in one of its modes."""
    if mode not in MODES:
        raise ValueError(f"learn_scores has no mode {mode!r}; its modes are {', '.join(MODES)}")
    config = defaults.learn_scores("digits" if mode == "digits" else "mnist", epochs=20)
    config.network.name = "lenet_300_100"
    config.train.optimizer = "sgd"
    config.train.schedule = "constant"
    config.train.select = "loss"
    config.train.patience = 5
    config.shots = 10
    config.train_seeds, config.validation_seeds, config.test_seeds = (100, 101, 102), (110,), (120,)
    if mode == "digits":
        config.network.width, config.data.validation = 0.1, 0.2
        config.train.epochs, config.rounds, config.density = 3, 2, 0.1
        config.tuned = ("mlp(optimizer='adam', epochs=50)", "boosting(iterations=20, leaves=7)")
        return config
    config.density = 0.005
    config.data.validation = 5000
    config.data.mean, config.data.std = (0.1307,), (0.3081,)
    if mode == "extended":
        config.features += MORE
    return config
