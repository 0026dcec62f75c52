"""One compilation cache for all tests, and slow files first."""

import contextlib
import ctypes
import gc
import importlib.metadata
import itertools
import os
import sys
import tempfile

import pytest
from hypothesis import settings

# Test machines are shared: no test may fail for being slow, nor for what was drawn only there.
settings.register_profile("jaxmask", deadline=None, derandomize=True)
settings.load_profile("jaxmask")

# Workers run whole files; a slow file started last would keep the others waiting.
BEGUN_FIRST = ("test_docs", "test_interruption", "test_sweep", "test_benchmarks", "adapter/",
               "recipe/", "train/", "score/test_synflow")  # fmt: skip

FORGET_ABOVE = 1.5  # gigabytes of a worker

# A fifth of the tests' time: thousands of small programs are compiled in half of it, each as one
# part of code. XLA ends the process on a flag that it does not know.
if importlib.metadata.version("jax").startswith("0.10."):
    faster = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{faster} {os.environ.get('XLA_FLAGS', '')}".strip()

# Before NumPy and JAX are imported; subprocesses of tests inherit it. Workers share the cores, so
# threads of NumPy, scikit-learn and PyTorch would wait for each other, at full speed.
for library in ("OPENBLAS", "OMP"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAXMASK_CACHE", os.path.join(tempfile.gettempdir(), f"jaxmask-tests-{os.getuid()}")
)


@pytest.fixture(params=["eager", "jit"], scope="module")  # of a module, for hypothesis
def variant(request):
    """Wraps the tested function: unchanged, and compiled by `jax.jit`."""
    import jax

    return jax.jit if request.param == "jit" else lambda function: function


@pytest.fixture(scope="module")
def quick_compilation():
    """For small programs that run a few times: compilation dominates."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    # processes that a test starts then compute the same, to the last bit
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    yield
    os.environ.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def shallow_resnet():
    """`resnet20` has a block a stage, not three alike: a third to trace and compile."""
    from jaxmask.model import networks

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "resnet20", networks._cifar_resnet(1))
        yield


@pytest.fixture(autouse=True)
def traces_counted_from_zero():
    """`chex.assert_max_traces` counts by name, so the cases of one test would add up."""
    import chex

    chex.clear_trace_counter()


def pytest_collection_finish():
    """A tenth of the time went to looking for garbage among all that is imported and traced."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not any(name in item.nodeid for name in BEGUN_FIRST))


@pytest.fixture(autouse=True)
def forget_compiled_programs():
    """A worker that keeps the programs of all its tests grows by gigabytes."""
    yield
    if resident_gigabytes() < FORGET_ABOVE:
        return
    import jax

    jax.clear_caches()
    programs = sys.modules.get("jaxmask.run.programs")
    if programs is not None:
        programs.forget()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # of other C libraries than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # gives freed memory back to the system


def resident_gigabytes():
    """Of this process; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    except OSError:
        return 0.0


@pytest.fixture(scope="session", autouse=True)
def shared_contexts():
    """A hundred programs are lowered in one context of MLIR: to make it takes half of the time."""
    from jax._src.interpreters import mlir

    make = getattr(mlir, "make_ir_context", None)
    if make is None:  # in another version of JAX
        yield
        return
    made, lowered = None, itertools.count()

    def shared():
        nonlocal made
        if next(lowered) % 100 == 0 or made is None:
            made = make()
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlir, "make_ir_context", shared)
        yield


@pytest.fixture(scope="session", autouse=True)
def compilation_cache():
    import jax

    jax.config.update("jax_compilation_cache_dir", os.environ["JAXMASK_CACHE"] + "/xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
