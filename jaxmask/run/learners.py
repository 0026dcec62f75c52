"""What a config may name to learn scores: regressors, fitted and turned into arrays.

Rows are float32: [N, F] features, [N] targets. Beyond what is said here, scikit-learn's defaults
are left as they are, as in the source (Lutz, Manai, ZHAW 2022).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxmask import signals
from jaxmask.errors import InputError, check_numbers
from jaxmask.run import perceptron, regressors
from jaxmask.run.regressors import Regressor
from jaxmask.train.named import call


class Rows(NamedTuple):
    """Features [N, F] and targets [N] of weights."""

    x: np.ndarray
    y: np.ndarray


class Fitted(NamedTuple):
    """A regressor; and, if it was trained in epochs, the mean squared errors after each.

    Attributes:
      curve: (of training rows, of validation rows), for each epoch.
    """

    regressor: Regressor
    curve: tuple[tuple[float, float], ...] = ()


class Learner(NamedTuple):
    """A regressor by name.

    Attributes:
      name: without settings.
      fit: (training rows, validation rows, seed) -> what was fitted.
    """

    name: str
    fit: Callable[[Rows, Rows, int], Fitted]


def linear() -> Learner:
    """Least squares: `LinearRegression`."""

    def fit(train: Rows, validation: Rows, seed: int) -> Fitted:
        from sklearn.linear_model import LinearRegression

        return Fitted(regressors.of_linear(LinearRegression().fit(*train)))

    return Learner("linear", fit)


def sgd() -> Learner:
    """Least squares by stochastic gradient descent: `SGDRegressor`."""

    def fit(train: Rows, validation: Rows, seed: int) -> Fitted:
        from sklearn.linear_model import SGDRegressor

        return Fitted(regressors.of_linear(SGDRegressor(random_state=seed).fit(*train)))

    return Learner("sgd", fit)


def tree(leaves: int = 0) -> Learner:
    """`DecisionTreeRegressor`; 0 leaves: as many as it takes, the default."""
    most = _most("tree", "leaves", leaves, 2)

    def fit(train: Rows, validation: Rows, seed: int) -> Fitted:
        from sklearn.tree import DecisionTreeRegressor

        model = DecisionTreeRegressor(max_leaf_nodes=most, random_state=seed).fit(*train)
        return Fitted(regressors.of_trees([model]))

    return Learner("tree", fit)


def forest(trees: int = 100, leaves: int = 2**14, rows: int = 2**17) -> Learner:
    """`RandomForestRegressor`, smaller than by default, which takes gigabytes.

    At most 2^14 leaves in a tree, each grown on at most 2^17 rows drawn with repetition: 100 trees
    have 66 MB at most. With `leaves=0, rows=0` it is as published.
    """
    check_numbers("forest: trees", [trees], 1, 10_000)
    most, drawn = _most("forest", "leaves", leaves, 2), _most("forest", "rows", rows, 1)

    def fit(train: Rows, validation: Rows, seed: int) -> Fitted:
        from sklearn.ensemble import RandomForestRegressor

        model = RandomForestRegressor(
            int(trees), max_leaf_nodes=most, random_state=seed, n_jobs=-1,
            max_samples=None if drawn is None else min(drawn, len(train.y)),
        )  # fmt: skip
        return Fitted(regressors.of_trees(model.fit(*train).estimators_))

    return Learner("forest", fit)


def boosting(iterations: int = 100, rate: float = 0.1, leaves: int = 31) -> Learner:
    """Boosted trees on histograms: `HistGradientBoostingRegressor`."""
    check_numbers("boosting: iterations", [iterations], 1, 10_000)
    check_numbers("boosting: rate", [rate], 1e-6, 1)
    check_numbers("boosting: leaves", [leaves], 2, 2**16)

    def fit(train: Rows, validation: Rows, seed: int) -> Fitted:
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(
            max_iter=int(iterations), learning_rate=rate, max_leaf_nodes=int(leaves),
            random_state=seed,
        )  # fmt: skip
        return Fitted(regressors.of_boosting(model.fit(*train)))

    return Learner("boosting", fit)


def mlp(
    hidden: tuple[int, ...] = (64, 32),
    optimizer: str = "sgd",
    rate: float = 1e-3,
    epochs: int = 10,
    batch_size: int = 64,
) -> Learner:
    """A multi-layer perceptron: ReLU, a sigmoid at the end, mean squared error.

    Sizes, optimizer and rate are the published ones, which gives neither epochs nor batch size.

    Args:
      hidden: the sizes of its hidden layers.
      optimizer: any optax chain, as in `train.optimizer`.
    """
    check_numbers("mlp: hidden", hidden, 1, 4096)
    check_numbers("mlp: rate", [rate], 0, 1e3)
    check_numbers("mlp: epochs", [epochs], 1, 10_000)
    check_numbers("mlp: batch_size", [batch_size], 1, 2**20)
    settings = perceptron.Settings(
        tuple(map(int, hidden)), optimizer, float(rate), int(epochs), int(batch_size)
    )
    perceptron.make_optimizer(optimizer)  # raises for an unknown one

    def fit(train: Rows, validation: Rows, seed: int) -> Fitted:
        return Fitted(*perceptron.fit(settings, train, validation, seed))

    return Learner("mlp", fit)


LEARNERS: dict[str, Callable[..., Learner]] = {
    each.__name__: each for each in (linear, sgd, tree, forest, boosting, mlp)
}


def learner(text: str) -> Learner:
    """The learner that a config names: "linear", "mlp(rate=0.01)".

    Raises:
      InputError: it is unknown, or does not take these settings.
    """
    found = call(text, LEARNERS, "learner")
    fit: Any = found.fit

    def watched(train: Rows, validation: Rows, seed: int) -> Fitted:
        signals.obey()
        return fit(train, validation, seed)

    return found._replace(fit=watched)


def _most(name: str, setting: str, value: int, least: int) -> int | None:
    """A limit; None for 0, which is no limit."""
    if value == 0 and not isinstance(value, bool):
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(
            f"learner {name!r}: {setting} {value!r}; give a whole number of at least {least}, or 0 "
            "for no limit"
        )
    return value
