"""Composed criteria by name, against gradients of a small network written here, in both stages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import prune
from jaxmask.errors import InputError
from jaxmask.run.composites import criterion
from jaxmask.run.criteria import Subject

pytestmark = pytest.mark.usefixtures("quick_compilation")

RANDOM = np.random.default_rng(3)
W = {"fc": RANDOM.normal(size=(5, 4)), "head": RANDOM.normal(size=(4, 3))}
BIAS = RANDOM.normal(size=4)
X, Y = RANDOM.normal(size=(7, 5)), np.array([0, 1, 2, 2, 1, 0, 1])


def forward(w, bias, x):
    return jnp.maximum(x @ w["fc"] + bias, 0) @ w["head"]


def apply(parameters, batch_stats, images, train):
    x = images.reshape(len(images), -1)
    return forward(parameters, parameters["bias"], x), batch_stats


def subject(**changes):
    rest = {"fc": None, "head": None, "bias": jnp.asarray(BIAS)}
    made = Subject(apply, rest, {}, jax.random.key(0), (1, 5, 1), 7, False)
    return made._replace(**changes)


def weights(w=W):
    return {**{name: jnp.asarray(leaf) for name, leaf in w.items()}, "bias": None}


def batch():
    return jnp.asarray(X).reshape(7, 1, 5, 1), jnp.asarray(Y)


def found(text, w=W, **changes):
    scores = criterion(text).scorer(subject(**changes))(weights(w), *batch())
    return {name: np.asarray(scores[name]) for name in W}


# The criteria once more, with jax.grad alone.


def loss(w):
    z = forward(w, BIAS, X)
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - z[np.arange(7), Y])


def snip(w, origin=None):
    g = jax.grad(loss)(w)
    s = {name: np.abs((w if origin is None else origin)[name] * g[name]) for name in W}
    return over(s, sum(leaf.sum() for leaf in s.values()))


def grasp(w):
    g = jax.grad(loss)(w)
    hg = jax.grad(lambda w: sum(jnp.sum(jax.grad(loss)(w)[name] * g[name]) for name in W))(w)
    return {name: np.asarray(w[name] * hg[name]) for name in W}


def synflow(w):
    sizes = {name: np.abs(leaf) for name, leaf in w.items()}
    g = jax.grad(lambda w: jnp.sum(forward(w, np.abs(BIAS), np.ones((1, 5)))))(sizes)
    return {name: np.asarray(sizes[name] * g[name]) for name in W}


def magnitude(w):
    return {name: np.abs(leaf) for name, leaf in w.items()}


def over(s, divisor):
    return {name: np.asarray(leaf / divisor) for name, leaf in s.items()}


def agree(one, other):
    for name in W:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-8, atol=1e-14)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


CASES = {
    "stack(snip(), synflow())": lambda w: synflow(snip(w)),
    "stack(synflow, snip)": lambda w: snip(synflow(w)),
    "stack(grasp, snip)": lambda w: snip(grasp(w)),
    "stack(magnitude(), grasp())": lambda w: grasp(magnitude(w)),
    "stack(stack(magnitude, snip), synflow)": lambda w: synflow(snip(magnitude(w))),
    "stack(snip, stack(grasp, magnitude))": lambda w: magnitude(grasp(snip(w))),
    "stack(grasp, snip, normalize=True)": lambda w: snip(
        over(grasp(w), abs(sum(leaf.sum() for leaf in grasp(w).values())))
    ),
    "stack(as_weights(snip()), synflow)": lambda w: synflow(
        over(snip(w), max(leaf.max() for leaf in snip(w).values()))
    ),
}


@pytest.mark.parametrize("text", CASES)
def test_both_stages_in_one_shot_and_the_same_compiled(text, x64):
    agree(found(text), CASES[text](W))
    compiled = jax.jit(criterion(text).scorer(subject()))(weights(), *batch())
    agree(compiled, CASES[text](W))


@pytest.mark.parametrize("text", ["stack(snip(), synflow())", "stack(grasp, snip)"])
def test_both_stages_score_what_is_left_at_every_shot(text, x64):
    masks = prune.multi_shot(criterion(text).scorer(subject()), 0.25, 4)(weights(), *batch())
    left = {name: np.ones_like(leaf) for name, leaf in W.items()}
    for share in prune.densities(0.25, 4):
        scores = CASES[text]({name: W[name] * left[name] for name in W})
        left = kept(scores, share, left)
    for name in W:
        np.testing.assert_array_equal(masks[name], left[name])


def kept(scores, share, among=None):
    flat = {name: np.where(among[name], leaf, -np.inf) if among else leaf
            for name, leaf in scores.items()}  # fmt: skip
    every = np.sort(np.concatenate([leaf.ravel() for leaf in flat.values()]))
    count = 32 - int((1 - share) * 32 + 1e-9)
    return {name: leaf >= every[-count] for name, leaf in flat.items()}


def test_what_is_pruned_stays_out_of_a_second_stage_that_could_score_it(x64):
    """A gradient is not 0 where the weight is."""
    zeros = {name: np.where(np.abs(leaf) < 0.7, 0, leaf) for name, leaf in W.items()}
    scores = found("stack(gradient_norm, snip)", zeros)
    gradient = {name: np.abs(leaf) for name, leaf in jax.grad(loss)(zeros).items()}
    agree(scores, snip({name: np.where(zeros[name] == 0, 0, gradient[name]) for name in W}))


REVIVING = {
    "snip(revive=True)": lambda w, o: snip(w, o),
    "stack(snip(revive=True), magnitude)": lambda w, o: snip(w, o),
    "stack(magnitude, snip(revive=True))": lambda w, o: snip(magnitude(w), magnitude(o)),
    "stack(snip(revive=True), snip(revive=True))": lambda w, o: snip(
        {name: np.where(w[name] == 0, 0, snip(w, o)[name]) for name in W}, snip(w, o)
    ),
    "stack(as_weights(snip(revive=True)), magnitude)": lambda w, o: over(
        snip(w, o), max(leaf.max() for leaf in snip(w, o).values())
    ),
}


@pytest.mark.parametrize("text", REVIVING)
def test_pruned_weights_are_scored_by_their_originals_and_come_back(text, x64):
    made = criterion(text)
    assert made.revives
    scorer = made.scorer(subject(origin=weights()))
    masks, report = prune.multi_shot(scorer, 0.2, 6, monotone=False, report=True)(
        weights(), *batch()
    )
    left, back = {name: np.ones_like(leaf, bool) for name, leaf in W.items()}, 0
    for share in prune.densities(0.2, 6):
        at = {name: np.where(left[name], W[name], 0) for name in W}
        new = kept(REVIVING[text](at, W), share)
        back += sum((new[name] & ~left[name]).sum() for name in W)
        left = new
    for name in W:
        np.testing.assert_array_equal(masks[name], left[name])
    assert back > 0
    assert report.kept[-1].sum() == sum(leaf.sum() for leaf in left.values())


def test_in_one_shot_nothing_comes_back(x64):
    agree(found("snip(revive=True)", origin=weights()), snip(W))


@pytest.mark.parametrize("first", ["snip()", "synflow", "grasp(absolute=True)", "fisher"])
def test_a_stack_with_magnitude_is_the_first_criterion_where_its_scores_are_positive(first, x64):
    agree(found(f"stack({first}, magnitude())"), found(first))


def test_a_composite_needs_what_a_part_needs():
    told = {
        text: {field for field in ("needs_data", "double", "single_examples", "sums_training")
               if getattr(criterion(text), field)}
        for text in (
            "stack(magnitude, random)", "stack(magnitude, synflow)", "stack(synflow, snip)",
            "stack(stack(magnitude, fisher), magnitude)", "stack(movement(), magnitude)",
            "stack(magnitude, movement)", "stack(as_weights(synflow), magnitude)",
        )
    }  # fmt: skip
    assert list(told.values()) == [
        set(), {"double"}, {"needs_data", "double"}, {"needs_data", "single_examples"},
        {"needs_data", "sums_training"}, {"needs_data"}, {"double"},
    ]  # fmt: skip


def test_two_stages_draw_different_random_numbers(x64):
    text = "optimal_brain_damage(samples=1)"
    twice = found(f"stack({text}, {text})")
    again = criterion(text).scorer(subject())
    same = again(again(weights(), *batch()), *batch())
    assert not np.allclose(twice["head"], same["head"])
    agree(twice, found(f"stack({text}, {text})"))


@pytest.mark.parametrize("spoil", [np.nan, 0.0])
def test_scores_that_cannot_be_used_are_not_passed_on(spoil, x64):
    """Even to a criterion that would give scores of its own, whatever it is given."""
    summed = {name: jnp.full(leaf.shape, spoil) for name, leaf in W.items()}
    scores = found("stack(movement, random)", summed=summed)
    assert all(np.isnan(leaf).all() for leaf in scores.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stack(snip())", "second"),
        ("stack(snip, 2)", "composed of criteria, not of 2; write stack"),
        ("stack('snip', snip)", "not of 'snip'"),
        ("as_weights(0.5)", "not of 0.5; write as_weights"),
        ("stack(snip, synflow, snip)", "normalize"),
        ("stack(snip, magnitude, normalize=2)", "normalize 2; it must be True or False"),
        ("stack(snap(), snip)", "unknown criterion 'snap'; did you mean 'snip'"),
        ("as_weights(snip, scope='leaf')", "unknown scope 'leaf'"),
        ("as_weights(snip, sign='mine')", "unknown sign 'mine'"),
        ("as_weights(snip, shift=1)", "shift 1"),
        ("as_weights(grasp, sign='score', shift=True)", "none keeps its own sign"),
        ("as_weights(snip)", r"gives weights.*stack\(as_weights\(snip\), magnitude\(\)\)"),
        ("stack(snip, as_weights(snip))", "gives weights"),
        ("snip(revive=1)", "revive 1"),
        ("stack(snip(revive=True), synflow)", "'synflow' gives pruned weights no score"),
        ("stack(snip, snip(revive=True))", "'snip' gives pruned weights no score"),
        ("stack(snip, synflow), snip", "must name one"),
        ("stack(" * 300 + "snip" + ", snip)" * 300, "cannot be read"),
    ],
)
def test_compositions_that_cannot_be_are_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        criterion(text)
    assert "\n" not in str(caught.value)
