"""The benchmarks run, at a tiny size; their measurements are not checked."""

import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import (
    accelerator,
    compression,
    convolution,
    epoch,
    grid,
    leaves,
    masked_profile,
    masked_step,
    measure,
    memory,
    networks,
    scoring,
    selection,
    self_mask_step,
    start_up,
    step_profile,
    views,
)
from jaxmask import mask, model
from jaxmask.model import cifar_resnet

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_epoch_runs_its_three_sides(capsys):
    results = epoch.run(rounds=1, examples=256)
    assert [result.aim for result in results] == ["1.10", ""]
    assert "a bare lax.scan" in capsys.readouterr().out


def test_masked_profile_adds_up_the_passes(capsys):
    results = masked_profile.run(rounds=2, steps=2)
    assert [result.what.split(":")[0] for result in results] == list(masked_profile.STEPS)
    told = capsys.readouterr().out
    assert all(name in told for name in masked_profile.PASSES)
    assert "a dense step and the passes that masks add" in told


def test_masked_step_runs_both_sides(capsys):
    (result,) = masked_step.run(1, {"lenet_300_100": ((8, 8, 1), 2, 1.1)}, batch=8)
    assert result.what.startswith("a masked step of lenet_300_100")
    assert "masked / dense" in capsys.readouterr().out


def test_convolution_runs_both_sides(capsys):
    (result,) = convolution.run(rounds=1, channels=2, size=4, batch=2)
    assert result.what.startswith("a step of four convolutions")
    assert "as derived" in capsys.readouterr().out


def test_selection_runs_its_sides(capsys):
    results = selection.run(rounds=1, size=2000, densities=(0.3,))
    assert [r.aim for r in results if "sort" in r.what or "memory" in r.what] == ["0.05", "2", "2"]
    assert "jaxmask / side" in capsys.readouterr().out
    scores = selection.distinct(5000)
    assert len(np.unique(scores)) == 5000


def test_selection_takes_at_most_two_copies_of_the_scores():
    assert selection.copies(1_000_000) < 2
    assert selection.copies(1_000_000, np.dtype("float16")) <= 2.01


def test_leaves_runs_its_sides(capsys):
    results = leaves.run(rounds=1, leaves=(10,))
    assert [result.aim for result in results] == ["2 s", "2 s", ""]
    assert "threshold: compile" in capsys.readouterr().out


def test_compression_runs_and_describes_files(capsys, tmp_path):
    results = compression.run(rounds=1, width=0.05)
    assert [result.aim for result in results] == ["2 s", "2 s", "1", "1.02"]
    leaves = {"conv/kernel": np.random.default_rng(0).random((3, 3, 8, 8)) < 0.9}
    tuned = {"params": {"conv": {"kernel": np.ones((3, 3, 8, 8), np.float32)}}}
    for name, masks, arrays in (("mask", leaves, None), ("full", {}, tuned)):
        (tmp_path / name / "masks").mkdir(parents=True)
        mask.file.save(tmp_path / name / "masks" / "task.mask", masks, arrays=arrays)
    text = compression.describe(tmp_path, None, None)
    assert f"density {leaves['conv/kernel'].mean():.4f}" in text
    assert "fine-tuned copy at 16 bits a weight under lzma" in text


@pytest.mark.parity
def test_scoring_agrees_with_torch_and_runs_its_sides(capsys):
    pytest.importorskip("torch")
    lenet, vgg = scoring.CASES
    small = lenet._replace(shape=(8, 8, 1), batch=8, shots=5, rounds=(1, 1))
    assert [result.what.split(",")[0] for result in scoring.run([small], threads=(1,))] == [
        "SNIP", "GraSP", "SynFlow", "SynFlow in 5 shots to 0.01",
    ]  # fmt: skip
    assert "PyTorch (1 thread)" in capsys.readouterr().out
    small = vgg._replace(network="vgg11", shape=(16, 16, 3), batch=2, rounds=(1, 1), width=0.02)
    rows, _ = scoring.compare(small, "snip", 0, (1, 2))
    assert len(rows) == 3


@pytest.mark.parity
def test_networks_agree_with_torch_in_their_parts_and_run(capsys):
    torch = pytest.importorskip("torch")
    lite, _, resnet = networks.CASES
    for case, made in ((lite, networks.efficientnet_lite0), (resnet, networks.resnet20)):
        module = model.create(case.network, classes=10)
        shapes = jax.eval_shape(
            lambda module=module: model.initialize(module, jax.random.key(0), (32, 32, 3))
        )
        ours = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))
        with torch.device("meta"):
            assert sum(leaf.numel() for leaf in made(10).parameters()) == ours
    results = networks.run([resnet._replace(pixels=8, batch=2)], rounds=1)
    assert [result.what.split(" of ")[0] for result in results] == [
        "a training step", "a frozen forward",
    ]  # fmt: skip


PROGRAM = """
fused_computation.1 (a: f32[64,32,32,16]) -> f32[16] {
  %reduce.1 = f32[16]{0} reduce(%a)
}
body (a: f32[64,32,32,16]) -> f32[16] {
  %ynn_fusion.1 = f32[64,32,32,16]{3,2,1,0} fusion(%a), metadata={op_name="a/conv_general_dilated"}
  %ynn_fusion.2 = f32[16,3,3,16]{3,2,1,0} fusion(%a), metadata={op_name="a/conv_general_dilated"}
  %ynn_fusion.3 = f32[16]{0} fusion(%a), metadata={op_name="a/reduce_sum"}
  %wrapped_copy.4 = f32[16,32,32,64]{3,2,1,0} fusion(%a), metadata={op_name="a/cond"}
  ROOT %add_maximum_fusion = f32[64,32,32,16]{3,2,1,0} fusion(%a), metadata={op_name="a/max"}
  %while.2 = s32[] while(%a), condition=b
}
"""


def test_step_profile_tells_kinds_of_work_apart():
    found = step_profile.classified(PROGRAM, {2304})
    images, kernels, copies, sums, rest = step_profile.KINDS
    assert found == {
        "ynn_fusion.1": images, "ynn_fusion.2": kernels, "ynn_fusion.3": sums,
        "wrapped_copy.4": copies, "add_maximum_fusion": rest,
    }  # fmt: skip


@pytest.mark.parity
def test_step_profile_finds_convolutions_on_both_sides(capsys):
    pytest.importorskip("torch")
    case = step_profile.CASE._replace(pixels=16, batch=4)
    step_profile.run(case)
    ours, theirs = capsys.readouterr().out.split("PyTorch")
    for table in (ours, theirs):
        assert "| convolutions, and gradients to images |  0.0 ms" not in table
        assert float(table.split("together")[1].split("|")[1].split()[0]) > 0


def test_scoring_needs_pytorch(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert scoring.run() == []
    assert "needs PyTorch" in capsys.readouterr().out


def test_grid_runs_both_sides(capsys):
    (result,) = grid.measure(2, 1, (128, 64), rounds=1)
    assert result.jaxmask.endswith("runs/h")
    assert "one at a time" in capsys.readouterr().out


def test_memory_adds_up():
    found = memory.measure("lenet_300_100", 8, masked=True, batch=2)
    assert found["all"] == sum(found[kind] for kind in memory.KINDS) - 2 * found["alias"] > 0


def test_accelerator_measures_a_case():
    case = accelerator.Case("lenet_300_100", 8, 64, {})
    found = accelerator.measure(case, "bfloat16", rounds=1, steps=1, side=16)
    # Forward 2 operations per weight, backward 4, except for the first layer's inputs.
    weights = 64 * 300 + 300 * 100 + 100 * 10
    assert 4 * weights < found["flops"] < 10 * weights


def test_operations_of_a_strided_convolution_and_its_gradients():
    def loss(x, kernel):
        y = jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.sum(y**2) + jnp.arange(3)[0]

    def scanned(x, kernel):
        return jax.lax.scan(lambda k, _: (k - jax.grad(loss, 1)(x, k), None), kernel, length=3)[0]

    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    one = 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    counted = [
        accelerator.operations(jax.make_jaxpr(each)(x, kernel).jaxpr)
        for each in (loss, jax.grad(loss, 0), jax.grad(loss, 1), scanned)
    ]
    assert counted == [one, 2 * one, 2 * one, 6 * one]


def test_start_up_ends_after_the_first_scan(tmp_path):
    cache = os.environ["JAXMASK_CACHE"] + "/xla"
    found = start_up.start("digits", cache, str(tmp_path / "run"))
    assert set(found) == set(start_up.PARTS)
    assert found["compile"] > 0
    assert found["data"] > 0


def test_ratio_is_the_median_of_the_pairs():
    assert measure.ratio([1.0, 4.0, 3.0], [1.0, 2.0, 1.0]) == "2.00"


def test_interleaved_keeps_the_first_call_apart():
    order = []
    sides = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = measure.interleaved(sides, 2)
    assert order == ["a", "b", "a", "b", "b", "a"]
    assert len(timings["a"].seconds) == 2


def test_input_runs_its_sides(capsys, tmp_path):
    from benchmarks import input as input_
    from jaxmask import data

    files = input_.photographs(tmp_path / "images", 32, (60, 80))
    options = {"size": 32, "validation": 0, "cache_dir": tmp_path, "cache_gib": 0}
    train = data.load(f"folder:{tmp_path}/images", progress=False, **options).train
    results = input_.decoding(files, train, rounds=1)
    assert [result.against for result in results] == [results[0].against] * len(results)
    assert "Pillow in a loop" in capsys.readouterr().out


def test_probe_runs_its_sides(capsys):
    from benchmarks import probe

    (result,) = probe.run(1, examples=500, size=16, classes=5, regularization=1e-2)
    assert result.aim == "1.00"
    assert "jaxmask / side" in capsys.readouterr().out


def test_views_runs_both_sides(capsys, monkeypatch):
    small = cifar_resnet.CifarResNet(blocks=1, classes=10, width=0.25)
    monkeypatch.setattr(views.model, "create", lambda network, classes: small)
    (result,) = views.run(rounds=1, side=8, batch=4)
    assert result.what.startswith("views (2 x 8 px, 6 x 4 px) of 4 images")
    assert "of the network's time" in capsys.readouterr().out


def test_self_mask_losses_runs_each_loss_of_a_grid_once(capsys, monkeypatch):
    from benchmarks import self_mask_losses
    from jaxmask.run import task

    small = cifar_resnet.CifarResNet(blocks=1, classes=10, width=0.25)
    monkeypatch.setattr(task.model, "create", lambda *args, **options: small)
    expand = self_mask_losses.expand
    two = ("swav(prototypes=20, queue=128)", "simclr(dimension=32, temperature=0.2)")
    monkeypatch.setattr(
        self_mask_losses, "expand",
        lambda config: {name: run for name, run in expand(config).items()
                        if run.loss in two and not run.adversarial_step},
    )  # fmt: skip
    (result,) = self_mask_losses.run(rounds=1, grids=self_mask_losses.GRIDS[1:])
    assert result.what.startswith("a step of digits_self, simclr(")
    row = next(line for line in capsys.readouterr().out.splitlines() if "| simclr" in line)
    assert 0 < float(row.split("|")[4]) < 1  # operations: SimCLR takes no small views here


def test_self_mask_step_runs_its_sides(capsys, monkeypatch):
    small = cifar_resnet.CifarResNet(blocks=1, classes=10, width=0.25)
    monkeypatch.setattr(self_mask_step.tasks.model, "create", lambda network, **options: small)
    names = (self_mask_step.SWAV, "simclr")
    results = self_mask_step.run(
        rounds=1, side=8, batch=4, steps=1, losses={n: self_mask_step.LOSSES[n] for n in names}
    )
    assert [result.aim for result in results] == ["1.15", "0.03", "0.03", ""]
    assert results[0].what.startswith("a self-masking step of resnet20 (2 x 8 px and 4 x 4 px of 4")
    assert "supervised, on made views" in capsys.readouterr().out
