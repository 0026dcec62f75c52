import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from views import features, parameters

from jaxmask.errors import InputError
from jaxmask.loss import swav

WAY = swav(prototypes=5, dimension=4, queue=0, frozen_until=0.0)


def numbers(tree):
    return jax.tree.map(np.asarray, tree)


def embed(head, view):
    z = view @ head["projection"]["kernel"] + head["projection"]["bias"]
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def codes_of(scores, epsilon=0.05, rounds=3):
    q = np.exp(scores / epsilon)
    for _ in range(rounds):
        q = q / q.sum(0)
        q = q / q.sum(1, keepdims=True)
    return q


def codes(head, views, queue=None):
    found = []
    for t in range(2):
        z = embed(head, views[t])
        z = z if queue is None else np.concatenate([z, queue[t]])
        found.append(codes_of(z @ head["prototypes"].T)[: len(views[t])])
    return found


def reference(head, views, wanted, temperature=0.1):
    total = 0.0
    for t in range(2):
        for v, view in enumerate(views):
            if v != t:
                logits = embed(head, view) @ head["prototypes"].T / temperature
                logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
                total -= (wanted[t] * logs).sum(1).mean() / (len(views) - 1) / 2
    return total


@pytest.mark.parametrize("count", [2, 3, 8])
def test_it_is_the_formula(x64, count):
    head, views = parameters(WAY), features(1, count)
    value, memory, metrics = jax.jit(WAY.loss)(head, {}, list(views), None, 0.5)
    head = numbers(head)
    assert value == pytest.approx(reference(head, views, codes(head, views)), rel=1e-10)
    assert memory == {}
    z = np.concatenate([embed(head, view) for view in views[:2]])
    nearest = (z @ head["prototypes"].T).argmax(1)
    assert metrics["prototypes_used"] == pytest.approx(len(set(nearest)) / 5)
    assert metrics["spread"] == pytest.approx(z.var(0).sum())


def test_settings_are_those_of_the_formula(x64):
    way = swav(5, 4, temperature=0.3, epsilon=0.2, rounds=1, queue=0)
    head, views = parameters(way), features(2)
    value, _, _ = way.loss(head, {}, views, None, 0.5)
    head = numbers(head)
    wanted = [codes_of(embed(head, v) @ head["prototypes"].T, 0.2, 1) for v in views[:2]]
    assert value == pytest.approx(reference(head, views, wanted, 0.3), rel=1e-10)


def differences(function, tree, size=1e-6):
    """The gradient of a function of arrays, by central differences."""
    leaves, structure = jax.tree.flatten(tree)
    found = []
    for index, leaf in enumerate(leaves):
        slope = np.zeros(leaf.shape)
        for place in np.ndindex(leaf.shape):
            ends = []
            for sign in (1, -1):
                moved = [np.array(each) for each in leaves]
                moved[index][place] += sign * size
                ends.append(function(jax.tree.unflatten(structure, moved)))
            slope[place] = (ends[0] - ends[1]) / (2 * size)
        found.append(slope)
    return jax.tree.unflatten(structure, found)


def test_gradients_pass_through_the_prediction_and_not_the_codes(x64):
    head, views = parameters(WAY), features(3, batch=5)
    slope = jax.jit(jax.grad(lambda h, v: WAY.loss(h, {}, v, None, 0.5)[0], argnums=(0, 1)))
    found = slope(head, views)
    head = numbers(head)
    fixed = codes(head, views)
    wanted = differences(lambda given: reference(*given, fixed), (head, views))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), found, wanted)


def test_prototypes_are_frozen_at_first(x64):
    way = swav(5, 4, queue=0, frozen_until=0.25)
    head, views = parameters(way), features(4)

    @jax.jit
    def slope(progress):
        return jax.grad(lambda h: way.loss(h, {}, views, None, progress)[0])(head)

    step = jax.jit(way.loss)
    values = [step(head, {}, views, None, progress)[0] for progress in (0.0, 0.5)]
    assert values[0] == values[1]
    before, after = slope(0.249), slope(0.25)
    assert not np.any(before["prototypes"])
    assert np.abs(after["prototypes"]).max() > 1e-3
    jax.tree.map(np.testing.assert_array_equal, before["projection"], after["projection"])


def test_prototypes_return_to_the_unit_sphere(x64):
    head = WAY.init(jax.random.key(3), 6)
    np.testing.assert_allclose(np.linalg.norm(head["prototypes"], axis=1), 1, rtol=1e-6)
    moved = {**head, "prototypes": 3 * head["prototypes"]}
    back = WAY.after(moved)
    np.testing.assert_allclose(back["prototypes"], head["prototypes"], rtol=1e-6)
    assert back["projection"] is head["projection"]


def test_what_changes_nothing(x64):
    head, views = parameters(WAY), features(5, 5)
    rng = np.random.default_rng(0)

    step = jax.jit(WAY.loss)

    def value(head, views):
        return float(step(head, {}, views, None, 0.5)[0])

    same = pytest.approx(value(head, views), rel=1e-10)
    assert value(head, views[:, rng.permutation(8)]) == same  # examples
    assert value(head, views[[0, 1, 4, 2, 3]]) == same  # small views
    assert value(head, views[[1, 0, 2, 3, 4]]) == same  # large views
    assert value(head, views[[2, 1, 0, 3, 4]]) != same  # a small one for a large one
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    turned = jax.tree.map(lambda leaf: leaf @ turn, head)
    assert value(turned, views) == same
    longer = {**head, "projection": jax.tree.map(lambda leaf: 7 * leaf, head["projection"])}
    assert value(longer, views) == same
    order = rng.permutation(5)
    assert value({**head, "prototypes": head["prototypes"][order]}, views) == same


@pytest.mark.parametrize(("queue", "batch"), [(8, 4), (7, 3), (3, 8), (1, 2), (4, 4), (9, 8)])
def test_the_queue_is_a_list_of_the_newest(x64, queue, batch):
    """Filled from a fifth of all steps on, used once it was full before the step."""
    way = swav(5, 4, queue=queue, queue_from=0.2, frozen_until=0.0)
    head = parameters(way)
    memory, step = way.memory(head, batch), jax.jit(way.loss)
    kept, filled, used = [[np.zeros(4)] * queue for _ in range(2)], 0, []
    for index in range(10):
        views = features(index, batch=batch)
        value, memory, _ = step(head, memory, views, None, jnp.asarray(index / 10))
        plain = numbers(head)
        full = filled >= queue
        used.append(full)
        wanted = codes(plain, views, kept if full else None)
        assert value == pytest.approx(reference(plain, views, wanted), rel=1e-9)
        kept = [[*embed(plain, view), *old][:queue] for view, old in zip(views, kept)]
        filled = min(filled + batch, queue) if index >= 2 else 0
        np.testing.assert_allclose(memory["queue"], kept, rtol=1e-10)
        assert memory["filled"] == filled
        head = {**head, "prototypes": jnp.roll(head["prototypes"], 1, axis=1)}  # moves on
    assert used.index(True) == 2 + -(-queue // batch)
    assert all(used[used.index(True) :])


def test_nothing_learns_through_the_queue(x64):
    way = swav(5, 4, queue=4, queue_from=0.0)
    head, views = parameters(way), features(0, batch=4)
    memory = {**way.memory(head, 4), "filled": jnp.asarray(4)}

    @jax.jit
    def value(queue):
        return way.loss(head, {**memory, "queue": queue}, views, None, 0.5)[0]

    queue = jnp.asarray(features(1, 2, 4, 4))
    assert value(queue) != pytest.approx(float(value(queue[::-1])))
    assert not np.any(jax.grad(value)(queue))


def test_vmap_is_a_loop(x64):
    """Two trainings, of which one uses its queue already."""
    way = swav(5, 4, queue=6, queue_from=0.1)
    heads = [parameters(way, seed) for seed in range(2)]
    memories = []
    for head, filled in zip(heads, (6, 2)):
        made = {**way.memory(head, 8), "filled": jnp.asarray(filled, jnp.int32)}
        memories.append({**made, "queue": jnp.asarray(features(filled, 2, 6, 4))})
    views = [features(seed) for seed in (2, 3)]
    progress = jnp.array([0.05, 0.5])
    step = jax.jit(way.loss)
    each = [
        step(head, memory, x, None, at)
        for head, memory, x, at in zip(heads, memories, views, progress)
    ]
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
    together = jax.jit(jax.vmap(lambda *given: way.loss(*given[:3], None, given[3])))(
        stack(heads), stack(memories), stack(views), progress
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), together, stack(each))


@pytest.mark.parametrize("of_weights", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_narrow_features_are_widened(dtype, of_weights):
    way = swav(5, 4, queue=4, queue_from=0.0)
    head = parameters(way, dtype=of_weights)
    views = jnp.asarray(features(0), dtype)
    memory = way.memory(head, 8)
    step = jax.jit(way.loss)
    value, after, metrics = step(head, memory, views, None, 0.5)
    for leaf in (value, *metrics.values()):
        assert leaf.dtype == jnp.float32
    chex.assert_trees_all_equal_shapes_and_dtypes(memory, after)
    wide, _, _ = step(head, memory, jnp.asarray(views, "float32"), None, 0.5)
    assert value == pytest.approx(float(wide), rel=1e-6)


def test_features_and_weights_of_two_dtypes(x64):
    """What is carried on keeps its dtype, so steps may be scanned."""
    way = swav(5, 4, queue=4, queue_from=0.0)
    head = parameters(way, dtype="float32")
    memory = way.memory(head, 8)
    value, after, _ = way.loss(head, memory, jnp.asarray(features(0)), None, 0.5)
    assert value.dtype == jnp.float64
    assert [leaf.dtype for leaf in jax.tree.leaves(after)] == [jnp.int32, jnp.float32]
    assert way.init(jax.random.key(0), 3)["prototypes"].dtype == jnp.float32


def test_features_of_zero_have_finite_gradients():
    head = WAY.init(jax.random.key(0), 6)
    zeros = jnp.zeros((3, 4, 6))
    loss = jax.jit(jax.value_and_grad(lambda h: WAY.loss(h, {}, zeros, None, 0.5)[0]))
    value, slope = loss(head)
    assert value == pytest.approx(np.log(5), rel=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_metrics_tell_of_a_collapse(x64):
    head, views = parameters(WAY), features(0, batch=64)
    step = jax.jit(WAY.loss)
    _, _, healthy = step(head, {}, views, None, 0.5)
    _, _, collapsed = step(head, {}, np.broadcast_to(views[:1, :1], views.shape), None, 0.5)
    assert healthy["prototypes_used"] == 1
    assert healthy["spread"] > 0.3
    assert collapsed["prototypes_used"] == pytest.approx(1 / 5)
    assert collapsed["spread"] == pytest.approx(0, abs=1e-12)


def test_metrics_are_of_the_large_views(x64):
    head, views, step = parameters(WAY), features(0, 4, 64), jax.jit(WAY.loss)
    views[:2] = views[0, 0]
    _, _, metrics = step(head, {}, views, None, 0.5)
    assert metrics["prototypes_used"] == pytest.approx(1 / 5)
    assert metrics["spread"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [("prototypes", 0), ("dimension", 2.0), ("rounds", 0), ("queue", -1), ("queue", True),
     ("temperature", 0), ("epsilon", -0.05), ("queue_from", 1.5), ("frozen_until", float("nan")),
     ("frozen_until", 5005)],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"^{name} is {value}; give [^\n]*$"):
        swav(**{name: value})


def test_views_that_do_not_fit_are_refused():
    head, views = parameters(WAY, dtype="float32"), jnp.ones((3, 4, 6))
    for wrong in (views[:1], [views[0], views[1, :2]], [views[0, 0]] * 2, []):
        with pytest.raises(InputError, match=r"^views have shapes [^\n]*at least two arrays"):
            WAY.loss(head, {}, wrong, None, 0.0)
    with pytest.raises(InputError, match=r"^there are 5 features, the parameters are for 6"):
        WAY.loss(head, {}, views[..., :5], None, 0.0)
    with pytest.raises(InputError, match=r"^this loss has no teacher"):
        WAY.loss(head, {}, views, (head, views[:2]), 0.0)


@pytest.mark.parity
def test_steps_with_the_queue_equal_torch(x64):
    """SGD with momentum on projection and prototypes, frozen at first, over a filling queue."""
    torch = pytest.importorskip("torch")
    import optax

    way = swav(5, 4, queue=12, queue_from=0.2, frozen_until=0.15)
    head = parameters(way)
    linear = torch.nn.Linear(6, 4, dtype=torch.float64)
    centers = torch.nn.Linear(4, 5, bias=False, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(np.array(head["projection"]["kernel"]).T))
        linear.bias.copy_(torch.tensor(np.array(head["projection"]["bias"])))
        centers.weight.copy_(torch.tensor(np.array(head["prototypes"])))
    learned = [*linear.parameters(), *centers.parameters()]
    theirs = torch.optim.SGD(learned, 0.5, momentum=0.9)
    optimizer = optax.sgd(0.5, momentum=0.9)
    memory, slots, store = way.memory(head, 6), optimizer.init(head), [[], []]

    @jax.jit
    def gradient(head, *given):
        def loss(head):
            value, memory, _ = way.loss(head, *given)
            return value, memory

        return jax.value_and_grad(loss, has_aux=True)(head)

    for index in range(20):
        views = features(index, 4, 6)
        (value, memory), slope = gradient(head, memory, views, None, index / 20)
        updates, slots = optimizer.update(slope, slots)
        head = way.after(optax.apply_updates(head, updates))

        embeddings = torch.nn.functional.normalize(linear(torch.tensor(views)), dim=-1)
        outputs, wanted = centers(embeddings), 0.0
        for t in range(2):
            with torch.no_grad():
                earlier = centers(torch.stack(store[t])) if len(store[t]) == 12 else outputs[t][:0]
                q = torch.exp(torch.cat([outputs[t], earlier]) / 0.05)
                for _ in range(3):
                    q = q / q.sum(0, keepdim=True)
                    q = q / q.sum(1, keepdim=True)
                q = q[:6]
                if index >= 4:
                    store[t] = [*embeddings[t].detach(), *store[t]][:12]
            for v in set(range(4)) - {t}:
                logs = torch.nn.functional.log_softmax(outputs[v] / 0.1, dim=1)
                wanted = wanted - (q * logs).sum(1).mean() / 3 / 2
        theirs.zero_grad()
        wanted.backward()
        if index < 3:
            centers.weight.grad = None
        theirs.step()
        with torch.no_grad():
            centers.weight.copy_(torch.nn.functional.normalize(centers.weight, dim=1))
        assert float(value) == pytest.approx(wanted.item(), rel=1e-8)
    np.testing.assert_allclose(head["prototypes"], centers.weight.detach(), rtol=1e-7)
    np.testing.assert_allclose(head["projection"]["kernel"], linear.weight.detach().T, rtol=1e-7)
