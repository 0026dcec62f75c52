"""The command line for mask files: what it shows, compares, writes and merges."""

import csv
import itertools
import json

import jax
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from jaxmask import mask, model
from jaxmask.cli.masks import main
from jaxmask.model import weights
from jaxmask.task import learned

CLASSES = ("cat", "dog", "owl", "fox")


def random_network(name="resnet20", seed=0, **options):
    """{path: array} of a network without zeros and ones, made without compiling."""
    random = np.random.default_rng(seed)
    module = model.create(name, classes=7, **options)
    shapes = jax.eval_shape(
        lambda key: model.initialize(module, key, (32, 32, 3)), jax.random.key(0)
    )
    flat = {}
    for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items():
        values = random.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]) or 1)
        if path.endswith(("scale", "var")):
            values = random.uniform(0.5, 1.5, leaf.shape)
        flat[path] = values.astype(np.float32)
    return flat


def kernels(flat):
    return [path for path in flat if path.endswith("kernel") and "head" not in path]


def random_masks(flat, seed, density=0.6):
    random = np.random.default_rng(seed)
    return {
        path.removeprefix("params/"): random.random(flat[path].shape) < density
        for path in kernels(flat)
    }


def random_arrays(flat, seed):
    """A head for CLASSES, and batch statistics."""
    random = np.random.default_rng(seed)
    features = flat["params/head/kernel"].shape[0]
    arrays = {
        path: random.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        for path, leaf in flat.items()
        if path.startswith("batch_stats")
    }
    arrays["params/head/kernel"] = random.normal(size=(features, 4)).astype(np.float32)
    arrays["params/head/bias"] = random.normal(size=4).astype(np.float32)
    return arrays


def nested(flat):
    return traverse_util.unflatten_dict(flat, sep="/")


def write_task(path, flat, masks, arrays, head_in_base=False, weights=None, **about):
    """A task over the network `flat`, as written by the recipe `adapt`."""
    frozen = {key: leaf for key, leaf in flat.items() if head_in_base or "/head/" not in key}
    about = {
        "network": "resnet20", "width": 0.25, "stem": "", "classes": CLASSES, "mean": [0.5] * 3,
        "std": [0.25] * 3, "image_shape": [32, 32, 3], "stored_shape": [32, 32, 3],
        "method": "mask", "dataset": "animals", **about,
    }  # fmt: skip
    mask.file.save(
        path,
        nested(masks),
        arrays=nested(arrays),
        metadata={name: json.dumps(value) for name, value in about.items()},
        base=mask.file.Base(about["network"], mask.file.fingerprint(nested(frozen))),
        weights=weights,
    )


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    """A folder with base weights and three tasks over them; {name: masks}; the base weights."""
    folder = tmp_path_factory.mktemp("masks")
    flat = random_network(width=0.25)
    save_file(flat, folder / "base.safetensors")
    masks = {}
    (folder / "tasks").mkdir()
    for seed, (name, density) in enumerate({"a": 0.5, "b": 0.7, "c": 0.9}.items()):
        masks[name] = random_masks(flat, seed, density)
        arrays = random_arrays(flat, seed)
        write_task(folder / "tasks" / f"{name}.mask", flat, masks[name], arrays,
                   start=str(folder / "base.safetensors"), rescale=True)  # fmt: skip
    return folder, masks, flat


def told(capsys, *arguments):
    """The output of a command that succeeds."""
    assert main([str(argument) for argument in arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


# --- show


def test_show_counts_what_is_there(some, capsys):
    folder, masks, _ = some
    path = folder / "tasks" / "a.mask"
    (found,) = json.loads(told(capsys, "show", path, "--json"))
    bits = np.concatenate([leaf.reshape(-1) for leaf in masks["a"].values()])
    assert (found["bits"], found["kept"]) == (bits.size, bits.sum())
    assert found["density"] == pytest.approx(bits.mean())
    assert found["bytes"]["file"] == path.stat().st_size
    parts = found["bytes"]
    assert parts["header"] + parts["masks"] + parts["arrays"] == parts["file"]
    assert found["stored_bits_a_weight"] == pytest.approx(8 * parts["masks"] / bits.size)
    assert {leaf["path"]: (tuple(leaf["shape"]), leaf["kept"]) for leaf in found["masks"]} == {
        name: (leaf.shape, leaf.sum()) for name, leaf in masks["a"].items()
    }
    assert {"path": "params/head/kernel", "shape": [16, 4], "dtype": "float32"} in found["arrays"]
    assert found["metadata"]["classes"] == list(CLASSES)
    text = told(capsys, "show", path)
    leaf = masks["a"]["layer3_0/conv1/kernel"]
    line = f"layer3_0/conv1/kernel 3 x 3 x 8 x 16 1,152 {leaf.sum()} {leaf.mean():.4f}"
    assert line in [" ".join(line.split()) for line in text.splitlines()]
    for part in (found["base"]["fingerprint"][:12], "cat, dog, owl, fox", f"{parts['masks']:,}"):
        assert part in text


def test_folders_and_run_directories(some, tmp_path, capsys):
    folder, _, flat = some
    found = json.loads(told(capsys, "show", folder / "tasks", "--json"))
    assert [each["file"][-6:] for each in found] == ["a.mask", "b.mask", "c.mask"]
    for method in ("full", "mask"):
        (tmp_path / method / "masks").mkdir(parents=True)
        write_task(tmp_path / method / "masks" / "task.mask", flat, {}, {})
    for given, count in ((tmp_path, 2), (tmp_path / "full", 1)):
        text = told(capsys, "show", given)
        assert text.count("no mask") == count


def test_show_a_file_without_a_task(tmp_path, capsys):
    """Metadata that is not JSON, and no base network."""
    masks = {"w": np.array([1, -1, -1, 1])}
    mask.file.save(tmp_path / "t.mask", masks, metadata={"by": "snip", "density": "0.1"})
    text = told(capsys, "show", tmp_path / "t.mask")
    for part in ("unknown", "sign", "snip", "0.5000", "0.1"):
        assert part in text
    mask.file.save(tmp_path / "t.mask", {}, metadata={"metrics": '{"loss": NaN}'})
    (found,) = json.loads(told(capsys, "show", tmp_path / "t.mask", "--json"), parse_constant=int)
    assert found["metadata"] == {"metrics": {"loss": None}}
    assert found["density"] is None


def test_show_masks_that_are_coded_given_the_weights(some, tmp_path, capsys):
    folder, masks, flat = some
    frozen = {path.removeprefix("params/"): leaf for path, leaf in flat.items()}
    write_task(tmp_path / "x.mask", flat, masks["b"], {}, weights=frozen)
    base = folder / "base.safetensors"
    (found,) = json.loads(told(capsys, "show", tmp_path / "x.mask", "--base", base, "--json"))
    assert found["kept"] == sum(leaf.sum() for leaf in masks["b"].values())
    assert main(["show", str(tmp_path / "x.mask")]) == 2
    assert "--base=PATH" in capsys.readouterr().err


# --- overlap


def test_overlap_is_jaccards_index(some, tmp_path, capsys):
    folder, masks, _ = some
    out = tmp_path / "overlap.csv"
    shown = told(capsys, "overlap", folder / "tasks", "--by-leaf", f"--out={out}")
    rows = {(row["a"], row["b"], row["leaf"]): row for row in csv.DictReader(out.open())}
    leaves = list(masks["a"])
    assert len(rows) == 3 * (1 + len(leaves))
    for a, b in itertools.combinations("abc", 2):
        for leaf in ("", "conv1/kernel", "layer2_1/conv2/kernel"):
            names = [leaf] if leaf else leaves
            x, y = (np.concatenate([masks[t][name].ravel() for name in names]) for t in (a, b))
            row = rows[a, b, leaf]
            assert float(row["overlap"]) == pytest.approx((x & y).sum() / (x | y).sum(), abs=1e-6)
            assert float(row["equal_bits"]) == pytest.approx((x == y).mean(), abs=1e-6)
        assert f"{float(rows[a, b, '']['overlap']):.3f} (" in shown
    assert not list(tmp_path.glob(".*"))


def test_overlap_by_chance_is_that_of_independent_masks(tmp_path, capsys):
    """Densities differ by leaf: unrelated masks overlap only by chance."""
    densities = {"x": (0.1, 0.5), "y": (0.9, 0.2), "z": (0.3, 0.3)}
    random, trees = np.random.default_rng(0), []
    for which in range(2):
        trees.append({name: random.random(20000) < d[which] for name, d in densities.items()})
        mask.file.save(tmp_path / f"{which}.mask", trees[-1])
    told(capsys, "overlap", tmp_path, f"--out={tmp_path}/o.csv")
    (row,) = csv.DictReader((tmp_path / "o.csv").open())
    assert (row["a"], row["b"]) == ("0", "1")
    for _ in range(3):  # one of the two permuted within each leaf
        x = np.concatenate([random.permutation(leaf) for leaf in trees[0].values()])
        y = np.concatenate(list(trees[1].values()))
        expected = (x & y).sum() / (x | y).sum()
        assert float(row["by_chance"]) == pytest.approx(expected, abs=0.01)


# --- apply


def by_hand(flat, masks, arrays, rescale=True, signs=False):
    """A task applied to base weights, in NumPy only."""
    found = {path: leaf.astype(np.float64) for path, leaf in flat.items() if "/head/" not in path}
    for path, leaf in arrays.items():
        if not path.startswith("low_rank"):
            found[path] = leaf
    for path in {path.rpartition("/")[0] for path in arrays if path.startswith("low_rank")}:
        update = np.einsum("...r,ro->...o", arrays[f"{path}/a"], arrays[f"{path}/b"])
        found[path.replace("low_rank", "params")] += 0.5 * update
    for path, leaf in masks.items():
        scale = 1 / np.sqrt(leaf.mean()) if rescale and not signs else 1
        found[f"params/{path}"] = found[f"params/{path}"] * leaf * scale
    return found


@pytest.mark.parametrize("method", ["mask", "mask_topk", "mask_sign", "lora", "full", "given"])
def test_apply_writes_the_adapted_network(some, tmp_path, capsys, method):
    folder, masks, flat = some
    arrays, taken = random_arrays(flat, 5), masks["b"]
    random = np.random.default_rng(6)
    if method in ("lora", "full"):
        taken = {}
    if method == "full":
        arrays |= {path: leaf + 1 for path, leaf in flat.items() if "/head/" not in path}
    if method == "lora":
        for path in kernels(flat)[:2]:
            *window, inputs, outputs = flat[path].shape
            place = path.replace("params", "low_rank")
            arrays[f"{place}/a"] = random.normal(size=(*window, inputs, 2)).astype(np.float32)
            arrays[f"{place}/b"] = random.normal(size=(2, outputs)).astype(np.float32)
    if method == "mask_sign":
        taken = {path: np.where(leaf, 1, -1) for path, leaf in taken.items()}
    about = {"mask_topk": {"rescale": False}, "lora": {"low_rank_scale": 0.5}}.get(method, {})
    frozen = {path.removeprefix("params/"): leaf for path, leaf in flat.items()}
    known = "mask" if method == "given" else method
    write_task(tmp_path / "x.mask", flat, taken, arrays, method=known, **about,
               weights=frozen if method == "given" else None)  # fmt: skip
    out = tmp_path / "weights.safetensors"
    out.write_bytes(b"old")
    shown = told(
        capsys, "apply", tmp_path / "x.mask", f"--base={folder}/base.safetensors", f"--out={out}"
    )
    assert "4 classes" in shown
    found = load_file(out)
    expected = by_hand(flat, taken, arrays, method != "mask_topk", method == "mask_sign")
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        assert found[path].dtype == np.float32
        np.testing.assert_allclose(found[path], leaf, rtol=1e-5, atol=1e-6, err_msg=path)
    _, header = weights.load(out)  # what --config.start= reads
    assert header["classes"] == list(CLASSES)
    assert header["method"] == known
    assert header["std"] == [0.25] * 3
    assert learned.load(out).classes == CLASSES  # what jaxmask.task reads


def test_apply_with_a_head_that_is_part_of_the_base(some, tmp_path, capsys):
    """Pruning keeps the network's head, which is then in the fingerprint, not in the file."""
    folder, masks, flat = some
    own = [f"class {number}" for number in range(len(flat["params/head/bias"]))]
    write_task(tmp_path / "x.mask", flat, masks["a"], {}, head_in_base=True, classes=own)
    out = tmp_path / "w.safetensors"
    told(capsys, "apply", tmp_path / "x.mask", "--base", folder / "base.safetensors", "--out", out)
    found = load_file(out)
    np.testing.assert_array_equal(found["params/head/kernel"], flat["params/head/kernel"])


def test_the_base_of_a_run_is_found(some, tmp_path, capsys):
    """In the run directory, although the file names another place."""
    _, masks, flat = some
    (tmp_path / "mask" / "masks").mkdir(parents=True)
    write_task(tmp_path / "mask/masks/task.mask", flat, masks["a"], random_arrays(flat, 0),
               start="random")  # fmt: skip
    given = ["apply", tmp_path / "mask", f"--out={tmp_path}/w.safetensors"]
    assert main([str(part) for part in given]) == 2
    assert "give them: --base=PATH" in capsys.readouterr().err
    save_file(flat, tmp_path / "start.safetensors")
    (tmp_path / "config.json").write_text("{}")
    told(capsys, *given)
    assert (tmp_path / "w.safetensors").exists()


# --- export


@pytest.mark.parametrize("layout", ["swav", "dino"])
def test_export_has_plain_names_or_those_of_the_base(tmp_path, capsys, layout):
    """PyTorch weights in, PyTorch weights out."""
    flat = random_network("resnet18", width=0.0625)
    body = {path: leaf for path, leaf in flat.items() if "/head/" not in path}
    prefix = {"swav": "module.", "dino": "backbone."}[layout]
    state = model.pretrained.export(nested(body), "resnet18", layout)
    state = {prefix + name: leaf for name, leaf in state.items()}
    only = {"swav": "module.prototypes.weight", "dino": "head.last_layer.weight_v"}[layout]
    state[only] = np.ones((3, 4), np.float32)  # identifies the layout
    model.pretrained.save(tmp_path / "base.safetensors", state)
    masks, arrays = random_masks(flat, 1), random_arrays(flat, 2)
    write_task(tmp_path / "x.mask", flat, masks, arrays, network="resnet18", width=0.0625)
    given = ("export", tmp_path / "x.mask", f"--base={tmp_path}/base.safetensors")
    told(capsys, *given, f"--out={tmp_path}/own.safetensors", "--names=checkpoint")
    told(capsys, *given, f"--out={tmp_path}/plain.safetensors")
    told(capsys, *given, f"--out={tmp_path}/timm.safetensors", "--layout=timm")
    own, plain, timm = (
        load_file(tmp_path / f"{name}.safetensors") for name in ("own", "plain", "timm")
    )
    assert plain.keys() == timm.keys()
    assert {prefix + name for name in timm} == set(own)
    expected = by_hand(flat, masks, arrays)["params/layer2_0/downsample_conv/kernel"]
    for found in (
        timm["layer2.0.downsample.0.weight"],
        own[f"{prefix}layer2.0.downsample.0.weight"],
    ):
        np.testing.assert_allclose(found, expected.transpose(3, 2, 0, 1), rtol=1e-5)
    np.testing.assert_array_equal(timm["fc.weight"], arrays["params/head/kernel"].T)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "options", "head"),
    [
        ("resnet20", {"width": 0.25}, "linear"),
        ("resnet18", {"width": 0.125}, "fc"),
    ],
)
def test_pytorch_gives_the_same_logits(tmp_path, capsys, name, options, head):
    """A PyTorch network with the exported file, against the masked network here."""
    torch = pytest.importorskip("torch")
    flat = random_network(name, **options)
    save_file(flat, tmp_path / "base.safetensors")
    masks, arrays = random_masks(flat, 1), random_arrays(flat, 2)
    write_task(tmp_path / "x.mask", flat, masks, arrays, network=name,
               start=str(tmp_path / "base.safetensors"), **options)  # fmt: skip
    file = tmp_path / ("out.pth" if name == "resnet18" else "out.safetensors")
    told(capsys, "export", tmp_path / "x.mask", f"--out={file}")
    if file.suffix == ".pth":
        state = torch.load(file, weights_only=True)
    else:
        state = {key: torch.from_numpy(leaf) for key, leaf in load_file(file).items()}
    theirs = torch_resnet(torch, state, head, imagenet=name == "resnet18")

    module = model.create(name, classes=len(CLASSES), **options)
    x = np.random.default_rng(3).normal(size=(3, 32, 40, 3)).astype(np.float32)

    @jax.jit
    def logits(weights, scores, arrays):  # the layers as in training
        under = mask.threshold().apply(scores, weights)
        return module.apply(nested({**arrays, **{f"params/{k}": v for k, v in under.items()}}), x)

    scores = {path: leaf - np.float32(0.5) for path, leaf in masks.items()}
    weights = {path: flat[f"params/{path}"] for path in masks}
    rest = {path: leaf for path, leaf in flat.items() if path.removeprefix("params/") not in masks}
    ours = logits(weights, scores, {**rest, **arrays})
    with torch.no_grad():
        expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def torch_resnet(torch, state, head, imagenet):
    """A PyTorch residual network of basic blocks with the state dict loaded."""
    nn = torch.nn
    shortcut = any("downsample" in key for key in state)

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.downsample, self.extra, self.stride = None, outputs - inputs, stride
            if shortcut and (stride > 1 or inputs != outputs):
                self.downsample = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )

        def forward(self, x):
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            if self.downsample is not None:
                x = self.downsample(x)
            elif self.stride > 1:
                half = self.extra // 2
                x = nn.functional.pad(
                    x[:, :, :: self.stride, :: self.stride], (0, 0) * 2 + (half, self.extra - half)
                )
            return (x + y).relu()

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            inputs = state["conv1.weight"].shape[0]
            size, stride = (7, 2) if imagenet else (3, 1)
            self.conv1 = nn.Conv2d(3, inputs, size, stride, size // 2, bias=False)
            self.bn1 = nn.BatchNorm2d(inputs)
            self.maxpool = nn.MaxPool2d(3, 2, 1) if imagenet else nn.Identity()
            self.stages = sorted({key.split(".")[0] for key in state if key.startswith("layer")})
            for stage in self.stages:
                count = len({key.split(".")[1] for key in state if key.startswith(stage)})
                outputs = state[f"{stage}.0.conv1.weight"].shape[0]
                strides = [2 if stage != "layer1" else 1] + [1] * (count - 1)
                blocks = []
                for stride in strides:
                    blocks.append(Block(inputs, outputs, stride))
                    inputs = outputs
                self.add_module(stage, nn.Sequential(*blocks))
            self.add_module(head, nn.Linear(inputs, len(CLASSES)))

        def forward(self, x):
            x = self.maxpool(self.bn1(self.conv1(x)).relu())
            for stage in self.stages:
                x = getattr(self, stage)(x)
            return getattr(self, head)(x.mean((2, 3)))

    network = ResNet().eval()
    network.load_state_dict(state)  # strict, as in the README
    return network


# --- merge


@pytest.mark.parametrize("how", ["union", "intersection", "vote"])
@pytest.mark.parametrize("names", ["ab", "abc"])
def test_merge(some, tmp_path, capsys, how, names):
    folder, masks, _ = some
    out = tmp_path / "merged.mask"
    files = [folder / "tasks" / f"{name}.mask" for name in names]
    shown = told(capsys, "merge", *files, f"--how={how}", f"--out={out}")
    assert "the mask alone" in shown
    least = {"union": 1, "intersection": len(names), "vote": {2: 2, 3: 2}[len(names)]}[how]
    found = mask.file.read(out)
    for path, leaf in traverse_util.flatten_dict(found.masks, sep="/").items():
        votes = sum(masks[name][path].astype(int) for name in names)
        np.testing.assert_array_equal(leaf, votes >= least)
    assert found.arrays == {}
    assert found.base == mask.file.read(files[0]).base
    assert json.loads(found.metadata["rescale"]) is True
    assert "classes" not in found.metadata
    sources = json.loads(found.metadata["merged"])
    assert sources["how"] == how
    assert [each["file"] for each in sources["sources"]] == list(names)
    assert {each["dataset"] for each in sources["sources"]} == {"animals"}


def test_merged_masks_of_levels_are_of_these_levels(tmp_path, capsys):
    values, folder = (-1.0, 0.0, 1.0), tmp_path / "levels"
    folder.mkdir()
    for name, row in {"a": [1.0, 0.0, -1.0], "b": [0.0, 0.0, 1.0]}.items():
        bits = mask.planes({"w": np.float32(row)}, values)
        about = {"levels": json.dumps(list(values)), "method": '"mask"'}
        mask.file.save(folder / f"{name}.mask", bits, metadata=about)
    told(capsys, "merge", folder, "--how=union", f"--out={tmp_path}/m.mask")
    found = mask.file.read(tmp_path / "m.mask")
    levels = json.loads(found.metadata["levels"])
    assert mask.from_planes(found.masks, levels)["w"].tolist() == [1, 0, 1]
    other = mask.planes({"w": np.zeros(3, np.float32)}, values)
    mask.file.save(folder / "c.mask", other, metadata={"levels": "[0, 1, 2]"})
    assert main(["merge", str(folder), "--how=union", f"--out={tmp_path}/m.mask"]) == 2
    assert "differ in their values" in capsys.readouterr().err


def test_a_merged_mask_is_put_on_weights(some, tmp_path, capsys):
    """It has no head: the result is a network to start from."""
    folder, masks, flat = some
    told(capsys, "merge", folder / "tasks", "--how=union", f"--out={tmp_path}/m.mask")
    shown = told(capsys, "apply", tmp_path / "m.mask", f"--out={tmp_path}/w.safetensors")
    assert "no head" in shown
    union = {path: np.any([masks[n][path] for n in "abc"], axis=0) for path in masks["a"]}
    found, expected = load_file(tmp_path / "w.safetensors"), by_hand(flat, union, {})
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(
        found["params/conv1/kernel"], expected["params/conv1/kernel"], rtol=1e-5
    )


def test_signs_are_voted_on_and_a_tie_is_minus(tmp_path, capsys):
    signs = {"x": [1, 1, -1, -1], "y": [1, -1, 1, -1]}
    for name, values in signs.items():
        mask.file.save(tmp_path / f"{name}.mask", {"w": np.array(values)})
    told(capsys, "merge", tmp_path, "--how=vote", f"--out={tmp_path}/m.mask")
    assert mask.file.load(tmp_path / "m.mask")["w"].tolist() == [1, -1, -1, -1]
    (tmp_path / "m.mask").unlink()
    assert main(["merge", str(tmp_path), "--how=union", f"--out={tmp_path}/m.mask"]) == 2
    assert "masks of signs cannot be merged by union" in capsys.readouterr().err
    assert not (tmp_path / "m.mask").exists()


# --- errors


@pytest.fixture(scope="module")
def wrong(some):
    """A folder of files with one fault each."""
    folder, masks, flat = some
    place = folder / "wrong"
    (place / "empty").mkdir(parents=True)
    other = random_network(width=0.25, seed=9)
    save_file(other, place / "other.safetensors")
    write_task(place / "other.mask", other, masks["a"], {})
    write_task(place / "none.mask", flat, {}, random_arrays(flat, 0))
    write_task(place / "unscaled.mask", flat, masks["a"], {}, rescale=False)
    some_leaves = dict(list(masks["a"].items())[1:])
    write_task(place / "fewer.mask", flat, some_leaves, {})
    signs = {path: np.where(leaf, 1, -1) for path, leaf in masks["a"].items()}
    write_task(place / "signs.mask", flat, signs, {})
    mask.file.save(place / "plain.mask", nested(masks["a"]))
    neighbors = {"neighbors/features": np.ones((2, 3)), "neighbors/labels": np.zeros(2, int)}
    write_task(place / "knn.mask", flat, {}, neighbors)
    write_task(place / "lenet.mask", flat, masks["a"], {}, network="lenet5")
    write_task(place / "odd.mask", flat, masks["a"], {}, width="wide")
    write_task(place / "scale.mask", flat, {}, {}, method="lora", low_rank_scale="much")
    (place / "text.mask").write_text("not a mask file")
    return place


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "see --help"),
        ("show", "see --help"),
        ("guess A", "see --help"),
        ("show nowhere.mask", "does not exist"),
        ("show text.mask", "not a mask file"),
        ("show empty", "no mask file in"),
        ("overlap A", "give two or more"),
        ("overlap A other.mask", "for different base networks"),
        ("overlap A fewer.mask", "do not mask the same weights"),
        ("overlap A none.mask", "holds no mask"),
        ("overlap A B --out=o.txt", "must end in .csv"),
        ("apply A --base=other.safetensors --out=w.safetensors", "another network than"),
        ("apply A --base=nowhere --out=w.safetensors", "no weights at"),
        ("apply A --base=empty --out=w.safetensors", "empty holds no"),
        ("apply A --out=w.pth", "must end in .safetensors"),
        ("apply A --out=nowhere/w.safetensors", "make the folder"),
        ("apply A --out=BASE", "would overwrite an input"),
        ("apply TASKS --out=w.safetensors", "holds 3 mask files"),
        ("apply plain.mask --out=w.safetensors", "a mask but no task"),
        ("apply odd.mask --out=w.safetensors", "'width' in its metadata is a text ('wide')"),
        ("apply knn.mask --base=BASE --out=w.safetensors", "nearest neighbors"),
        ("apply scale.mask --base=BASE --out=w.safetensors", "low_rank_scale"),
        ("apply other.mask --out=w.safetensors", "give them: --base"),
        ("export A", "--out"),
        ("export A --out=w.txt", "must end in .safetensors or .pth"),
        ("export A --out=w.pth --layout=timn", "no layout 'timn'"),
        ("export A --out=w.pth --names=theirs", "invalid choice: 'theirs'"),
        ("export A --out=w.pth --names=checkpoint", "base weights have this package's"),
        ("export lenet.mask --base=BASE --out=w.pth", "in the network of its metadata (lenet5"),
        ("merge A B --out=w.mask", "--how"),
        ("merge A B --how=most --out=w.mask", "see --help"),
        ("merge A --how=vote --out=w.mask", "give two or more"),
        ("merge A B --how=vote --out=A", "would overwrite an input"),
        ("merge A B --how=vote --out=w.safetensors", "must end in .mask"),
        ("merge A other.mask --how=vote --out=w.mask", "for different base networks"),
        ("merge A signs.mask --how=vote --out=w.mask", "different kinds"),
        ("merge A unscaled.mask --how=vote --out=w.mask", "whether they rescale"),
    ],
)
def test_errors_are_one_line(some, wrong, capsys, monkeypatch, arguments, message):
    folder, _, _ = some
    monkeypatch.chdir(wrong)
    names = {"A": folder / "tasks/a.mask", "B": folder / "tasks/b.mask", "TASKS": folder / "tasks",
             "BASE": folder / "base.safetensors"}  # fmt: skip
    given = []
    for part in arguments.split():
        option, equals, value = part.rpartition("=")
        given.append(f"{option}{equals}{names.get(value, value)}")
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}
    assert main(given) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    after = {path: path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}
    assert after == before


def test_files_without_a_base_are_compared_by_their_leaves(some, wrong, capsys):
    """Like those of the first format version."""
    folder, _, _ = some
    shown = told(capsys, "overlap", folder / "tasks/a.mask", wrong / "plain.mask")
    assert shown.count("1.000 (0.33") == 4  # two equal masks of density 0.5
