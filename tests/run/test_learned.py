"""Learned scores by name, in stacks, in initial weights, and in whole runs on digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments import config, finished

from jaxmask import mask, recipe, score
from jaxmask.errors import InputError
from jaxmask.run import driver, regressors, starting
from jaxmask.run.composites import criterion
from jaxmask.run.criteria import Subject
from jaxmask.run.pruning import make_pruner
from jaxmask.run.regressors import LearnedScores, Regressor
from jaxmask.run.scoring import make_scoring

pytestmark = pytest.mark.usefixtures("quick_compilation")

RANDOM = np.random.default_rng(4)
W = {"fc": RANDOM.normal(size=(5, 4)), "head": RANDOM.normal(size=(4, 3))}
X, Y = RANDOM.normal(size=(7, 5)), np.array([0, 1, 2, 2, 1, 0, 1])


def apply(parameters, batch_stats, images, train):
    return jnp.maximum(images @ parameters["fc"], 0) @ parameters["head"], batch_stats


def loss(w, x, y):
    z = apply(w, {}, x, False)[0]
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - z[jnp.arange(7), y])


def of(scorer, w=W):
    """The scores of one criterion, by itself."""
    given = {name: jnp.asarray(leaf) for name, leaf in w.items()}
    return {name: np.asarray(leaf) for name, leaf in scorer(given, X, Y).items()}


SNIP, GRASP, MAGNITUDE = score.snip(loss), score.grasp(loss), score.magnitude()


def linear(path, coefficients, features=("snip", "magnitude"), scales=None):
    arrays = {
        "coefficients": np.float32(coefficients),
        "intercept": np.zeros((), np.float32),
    }
    scales = scales or ("values",) * len(features)
    regressors.save(path, LearnedScores(Regressor("linear", arrays), tuple(features), scales))
    return f"learned('{path}')"


@pytest.fixture
def path(tmp_path):
    return tmp_path / regressors.NAME


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def found(text):
    made = criterion(text)
    nothing = dict.fromkeys(W)
    at = Subject(apply, nothing, {}, jax.random.key(0), (5,), 7, False, held=made.held)
    return of(made.scorer(at))


def scaled(s):
    flat = np.concatenate([leaf.ravel() for leaf in s.values()])
    return {name: (leaf - flat.min()) / (flat.max() - flat.min()) for name, leaf in s.items()}


def close(one, other):
    for name in W:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6)


def test_it_predicts_from_the_criteria_of_its_file(path, x64):
    text = linear(path, [2.0, -0.5])
    s, m = scaled(of(SNIP)), scaled(of(MAGNITUDE))
    wanted = {name: 2 * s[name] - 0.5 * m[name] for name in W}
    close(found(text), wanted)
    close(found(f"stack({text}, magnitude)"), {name: np.abs(leaf) for name, leaf in wanted.items()})
    close(found(f"stack({text}, snip)"), of(SNIP, wanted))


def test_a_stack_is_a_feature_and_so_is_what_is_learned(path, tmp_path, x64):
    text = linear(path, [1.0, 1.0], ("stack(grasp, snip)", "weight"), ("values", "none"))
    s = scaled(of(SNIP, of(GRASP)))
    close(found(text), {name: s[name] + W[name] for name in W})
    inner = linear(tmp_path / "inner.safetensors", [1.0], ("magnitude",))
    outer = linear(tmp_path / "outer.safetensors", [3.0], (inner,), ("none",))
    m = scaled(of(MAGNITUDE))
    close(found(outer), {name: 3 * m[name] for name in W})


def test_it_needs_what_its_parts_need(path):
    fields = ("needs_data", "double", "single_examples", "revives", "everywhere", "weights")
    cases = {
        ("magnitude",): (),
        ("magnitude", "snip"): ("needs_data",),
        ("synflow", "weight"): ("double",),
        ("output_mean",): ("needs_data",),
        ("fisher", "stack(snip, synflow)"): ("needs_data", "double", "single_examples"),
    }
    for features, needs in cases.items():
        made = criterion(linear(path, np.ones(len(features)), features))
        assert [field for field in fields if getattr(made, field)] == list(needs)
        stacked = criterion(f"stack(magnitude, learned('{path}'))")
        assert [field for field in fields if getattr(stacked, field)] == list(needs)
        assert stacked.held.keys() == made.held.keys()


def test_what_cannot_be_is_refused(path, tmp_path):
    with pytest.raises(InputError, match="there are no learned scores at"):
        criterion(f"learned('{path}')")
    with pytest.raises(InputError, match=r"write learned\('PATH'\)"):
        criterion("learned(snip)")
    text = linear(path, [1.0], ("magnitude",))
    with pytest.raises(InputError, match="none comes back"):
        criterion(f"stack({text}, snip(revive=True))")
    linear(path, [1.0], ("nothing",))
    with pytest.raises(InputError, match="unknown feature 'nothing'"):
        criterion(f"learned('{path}')")


def test_a_run_is_pruned_by_it_and_another_file_at_the_same_place_is_another_criterion(
    path, tmp_path
):
    kept = {}
    for coefficients in ([1.0, 0.0], [0.0, 1.0]):
        text = linear(path, coefficients)
        folder = tmp_path / str(coefficients)
        told = finished(folder, criterion=text, density=0.2, train__epochs=0)
        assert told["density"] == pytest.approx(0.2, abs=1e-3)
        kept[tuple(coefficients)] = mask.file.load(folder / "masks" / "ticket.mask")
    for coefficients, name in (((1.0, 0.0), "snip"), ((0.0, 1.0), "magnitude")):
        finished(tmp_path / name, criterion=name, density=0.2, train__epochs=0)
        alone = mask.file.load(tmp_path / name / "masks" / "ticket.mask")
        jax.tree.map(np.testing.assert_array_equal, kept[coefficients], alone)


def test_many_shots_and_rounds_by_what_needs_float64(path, tmp_path):
    text = linear(
        path, [0.5, 0.5, 0.1], ("synflow", "snip", "density"), ("values",) * 2 + ("none",)
    )
    told = finished(tmp_path / "run", "lottery", criterion=text, density=0.1, shots=3, rounds=1,
                    train__epochs=1)  # fmt: skip
    assert told["density"] == pytest.approx(0.1, abs=1e-3)
    begun = finished(tmp_path / "initial", initial=f"scores({text})", criterion="magnitude",
                     density=0.5, train__epochs=0)  # fmt: skip
    assert begun["density"] == pytest.approx(0.5, abs=1e-3)


def test_initial_weights_of_another_file_have_another_name(path, tmp_path):
    shared = tmp_path / "shared"
    for number in (1.0, -1.0):
        made = config(criterion="magnitude", train__epochs=0)
        made.initial = f"scores({linear(path, [number, 0.5])})"
        driver.alone(recipe.prepare(made)(tmp_path / f"run{number}", shared))
    assert len(list(shared.glob("*.safetensors"))) == 2


def test_the_density_to_prune_to_reaches_the_regressor(path):
    text = linear(path, [1.0, 1.0], ("magnitude", "density"), ("values", "none"))
    seen = []
    for density in (0.5, 0.25):
        made = config(criterion=text, density=density)
        task, _ = starting.task_of(made)
        chosen = criterion(text)
        scoring = make_scoring(task, made, chosen, text, "prune")
        scorer, w = scoring.ready(starting.random_weights(task, 0))
        seen.append(max(float(leaf.max()) for leaf in jax.tree.leaves(scorer(w))))
    assert seen == pytest.approx([1.5, 1.25])


def test_a_part_without_a_score_ends_the_run_naming_it(path, tmp_path):
    text = linear(path, [1.0, 1.0], ("synflow", "magnitude"))
    made = config(criterion=text, density=0.1)
    made.network.name = "lenet_300_100"
    task, _ = starting.task_of(made)
    pruner = make_pruner(task, made)
    variables = starting.random_weights(task, 0)
    # nothing flows through a layer of zeros
    variables["params"]["fc2"]["kernel"] *= 0
    with pytest.raises(InputError, match="synflow gives the regressor scores that are all zero"):
        pruner.prune(variables, 0.1)
