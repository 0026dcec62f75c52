"""A cascade from its file: the server, image by image, against networks computed one at a time."""

import jax
import numpy as np
import pytest
import tasks

from jaxmask import evaluate, maskfile, model, task
from jaxmask.adapter import Stored
from jaxmask.cli import masks as masks_cli
from jaxmask.errors import InputError
from jaxmask.run import starting
from jaxmask.task import cascade
from jaxmask.task import file as task_file

CLASSES = ("a", "b", "c")
EXPERTS = 3
RESCALED = {"rescale": True}


def network(variables, masks, images):
    """The features of a masked LeNet, in numpy."""
    x = (images.reshape(len(images), -1) / 255 - 0.5) / 0.25
    for name in ("fc1", "fc2"):
        layer, mask = variables["params"][name], masks[name]["kernel"]
        x = np.maximum(x @ (layer["kernel"] * mask / np.sqrt(mask.mean())) + layer["bias"], 0)
    return x


class Made:
    """A cascade of random masks: its file, and what it computes."""

    def __init__(self, folder, conditional):
        self.path, self.variables = tasks.base(folder)
        random = np.random.default_rng(int(conditional))
        shapes = {
            name: np.shape(self.variables["params"][name]["kernel"]) for name in ("fc1", "fc2")
        }
        self.masks = [
            {name: {"kernel": random.random(shape) < 0.7} for name, shape in shapes.items()}
            for _ in range(1 + EXPERTS)
        ]
        images = random.integers(0, 256, (40, *tasks.SHAPE)).astype(np.uint8)
        own = self.features(0, images)
        router = evaluate.kmeans(clusters=EXPERTS, principal=3).fit(own.astype(np.float32), 0)
        self.router = router if conditional else None
        self.head = {"kernel": random.normal(size=(5, 3)).astype(np.float32),
                     "bias": random.normal(size=3).astype(np.float32)}  # fmt: skip
        self.whitening = evaluate.whitening(self.joined(images), 5)
        self.file = folder / "cascade.mask"
        self.save(self.content())

    def content(self, **changes):
        members = [Stored(masks, {}, RESCALED) for masks in self.masks]
        return cascade.content(members, self.whitening, self.router, "mask")

    def save(self, content, head=None):
        about = {
            "network": "lenet_300_100", "width": 0.05, "stem": "", "classes": list(CLASSES),
            "mean": [0.5], "std": [0.25], "image_shape": list(tasks.SHAPE), "method": "cascade",
            "stored_shape": list(tasks.SHAPE), "start": str(self.path), "dataset": "digits",
        }  # fmt: skip
        start = starting.Start(self.variables, str(self.path))
        task_file.save(
            self.file, content, batch_stats={}, new={"head": head or self.head}, about=about,
            base=maskfile.Base("lenet_300_100", start.fingerprint()),
        )  # fmt: skip

    def features(self, member, images):
        return network(self.variables, self.masks[member], images)

    def joined(self, images):
        """The embeddings side by side, one image at a time."""
        rows = []
        for image in images[:, None]:
            each = [self.features(member, image)[0] for member in range(1 + EXPERTS)]
            if self.router is not None:
                chosen = int(evaluate.route(self.router, each[0][None].astype(np.float32))[0])
                each[1:] = [one * (index == chosen) for index, one in enumerate(each[1:])]
            rows.append(np.concatenate(each))
        return np.stack(rows)

    def embedding(self, images):
        return (self.joined(images) - np.asarray(self.whitening.mean)) @ self.whitening.directions


@pytest.fixture(scope="module", params=[True, False], ids=["conditional", "unconditional"])
def made(request, tmp_path_factory):
    return Made(tmp_path_factory.mktemp("cascade"), request.param)


@pytest.fixture
def conditional(tmp_path):
    return Made(tmp_path, True)


def test_the_server_gives_what_the_networks_give_one_by_one(made):
    images = np.random.default_rng(5).integers(0, 256, (23, *tasks.SHAPE)).astype(np.uint8)
    loaded = task.load(made.file)
    assert loaded.classes == CLASSES
    wanted = made.embedding(images) @ made.head["kernel"] + made.head["bias"]
    for count in (23, 1):
        found = loaded.logits(loaded.variables, images[:count])
        np.testing.assert_allclose(found, wanted[:count], rtol=1e-3, atol=1e-3)


def test_a_conditional_server_computes_two_networks_for_an_image(conditional, monkeypatch):
    """By the operations of its program: a network that is not chosen costs nothing."""
    from jaxmask.task import library

    monkeypatch.setattr(library, "GROUP", 1)
    loaded = task.load(conditional.file)
    seen = []
    apply = model.create("lenet_300_100", classes=3, width=0.05).apply

    def counted(variables, images, **options):
        jax.debug.callback(lambda: seen.append(len(images)))
        return apply(variables, images, **options)

    monkeypatch.setattr(type(loaded.module), "apply", staticmethod(counted))
    images = np.random.default_rng(6).integers(0, 256, (4, *tasks.SHAPE)).astype(np.uint8)
    jax.block_until_ready(task.load(conditional.file).logits(loaded.variables, images))
    jax.effects_barrier()
    assert sorted(seen) == [1, 1, 1, 1, 4]  # each image in the dispatcher, and in one expert


def test_the_file_gives_back_every_mask(made):
    parts = cascade.members(task_file.read(made.file))
    assert len(parts) == 1 + EXPERTS
    for part, masks in zip(parts, made.masks):
        jax.tree.map(np.testing.assert_array_equal, part.stored.masks, masks)


def test_experts_that_change_little_take_little(tmp_path):
    far, near = Made(tmp_path, False), Made(tmp_path, False)
    first = near.masks[0]
    near.masks[1:] = [jax.tree.map(np.copy, first) for _ in range(EXPERTS)]
    far.save(far.content())
    size = far.file.stat().st_size
    near.save(near.content())
    assert near.file.stat().st_size < size - EXPERTS * 0.8 * 64 * 15 / 8


def test_it_is_no_network_and_no_task_to_share_a_batch_with(made, tmp_path, capsys):
    assert masks_cli.main(["apply", str(made.file), f"--out={tmp_path / 'out.safetensors'}"]) == 2
    assert "is a cascade of networks" in capsys.readouterr().err
    with pytest.raises(InputError, match="serve tasks that have a head"):
        task.serve([made.file])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda masks, arrays: masks.pop("changes"), "do not fit together"),
        (lambda masks, arrays: masks["changes"].pop("1"), "do not fit together"),
        (
            lambda masks, arrays: masks["changes"]["1"]["fc1"].update(
                kernel=np.ones((1, 15), bool)
            ),
            "not of the dispatcher's weights",
        ),
        (lambda masks, arrays: masks.pop("dispatcher"), "it is no cascade"),
        (lambda masks, arrays: arrays.pop("router"), "do not fit together"),
        (lambda masks, arrays: arrays.pop("whitening"), "do not fit together"),
        (lambda masks, arrays: arrays["router"].update(offsets=np.zeros(2)), "do not fit together"),
        (
            lambda masks, arrays: arrays["whitening"].update(directions=np.zeros((20, 4))),
            "do not fit together",
        ),
        (
            lambda masks, arrays: masks["changes"]["1"].pop("fc2"),
            "not of the dispatcher's weights",
        ),
        (lambda masks, arrays: arrays.update(more={"a": np.zeros(1)}), "more"),
    ],
)
def test_content_that_does_not_fit_together_is_refused(conditional, change, message):
    content = conditional.content()
    copy = jax.tree.map(lambda leaf: leaf, (content.masks, content.arrays))  # new dicts
    change(*copy)
    conditional.save(Stored(*copy, content.settings))
    with pytest.raises(InputError, match=message) as error:
        task.load(conditional.file)
    assert str(conditional.file) in str(error.value)
