"""A network that cannot be trained is refused before anything is trained, in one line."""

import flax.linen as nn
import jax.numpy as jnp
import pytest

from jaxmask import model
from jaxmask.cli.run import main
from jaxmask.errors import InputError
from jaxmask.model import trial


class Noisy(nn.Module):
    """Adds noise in training."""

    classes: int

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(4)(x.reshape(len(x), -1))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(self.classes, name="head")(x)


class AlwaysNoisy(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x):
        x = nn.Dropout(0.5)(x.reshape(len(x), -1), deterministic=self.is_initializing())
        return nn.Dense(self.classes, name="head")(x)


class PerPixel(nn.Module):
    """Has no pooling: logits for each pixel."""

    classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes, name="head")(x)


class Pair(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x):
        logits = nn.Dense(self.classes, name="head")(x.mean((1, 2)))
        return logits, {"attention": x}


class OneImage(nn.Module):
    """Only takes the batch of one that it is initialized with."""

    classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes, name="head")(x.reshape(1, 48))


class Fixed(nn.Module):
    """Whatever `classes` is."""

    classes: int

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(10, name="head")(x.mean((1, 2)))


class OfWords(nn.Module):
    """Takes token ids."""

    classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes, name="head")(nn.Embed(9, 4)(x).mean(1))


def test_networks_of_texts_are_tried_with_token_ids():
    trial.check(OfWords(5), (8,), 5)
    trial.check(model.create("bert_tiny", classes=5, width=0.1), (8,), 5)
    with pytest.raises(InputError, match="OfWords cannot be called in evaluation with images"):
        trial.check(OfWords(5), (4, 4, 3), 5)
    with pytest.raises(InputError, match="texts of 513 tokens are longer than the 512"):
        trial.check(model.create("bert_tiny", classes=5, width=0.1), (513,), 5)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Noisy, "Noisy draws random numbers in training .*dropout"),
        (AlwaysNoisy, "AlwaysNoisy draws random numbers in evaluation"),
        (PerPixel, r"an array of shape \(2, 4, 4, 5\) .*logits \(2, 5\)"),
        (Pair, "gives no array"),
        (OneImage, r"cannot be called in evaluation with images \(4, 4, 3\): TypeError"),
        (Fixed, r"an array of shape \(2, 10\) .*logits \(2, 5\)"),
    ],
)
def test_what_cannot_be_trained_is_one_line(network, message):
    with pytest.raises(InputError, match=message) as error:
        trial.check(network(classes=5), (4, 4, 3), 5)
    assert "\n" not in str(error.value)
    assert "https" not in str(error.value)


@pytest.mark.parametrize("name", ["lenet_300_100", "resnet20"])
def test_networks_of_the_package_pass(name):
    trial.check(model.create(name, classes=3, dtype=jnp.bfloat16), (8, 8, 1), 3)


def test_the_command_refuses_it_before_it_writes(tmp_path, capsys):
    arguments = [
        "--config=digits",
        f"--workdir={tmp_path / 'run'}",
        f"--config.network.name={__name__}:Noisy",
        "--config.network.width=1.0",
        "--config.start=random",
        "--config.methods=('mask',)",
    ]
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "draws random numbers in training" in told
    assert not (tmp_path / "run").exists()
