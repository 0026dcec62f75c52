"""One compilation cache for all tests: what two of them need, one compiles. Slow files first."""

import os
import tempfile

import pytest
from hypothesis import settings

# Machines that run tests have other work too: no test is to fail for being slow.
settings.register_profile("jaxmask", deadline=None)
settings.load_profile("jaxmask")

# A worker runs whole files; one that is begun last is waited for by the other.
BEGUN_FIRST = ("test_interruption", "test_sweep", "test_benchmarks", "recipe/", "train/",
               "score/test_synflow")  # fmt: skip

# before JAX is imported; subprocesses of tests inherit it
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAXMASK_CACHE", os.path.join(tempfile.gettempdir(), f"jaxmask-tests-{os.getuid()}")
)


@pytest.fixture(params=["eager", "jit"], scope="module")  # of a module, for hypothesis
def variant(request):
    """What a test sends its function through: as it is, and then compiled by `jax.jit`."""
    import jax

    return jax.jit if request.param == "jit" else lambda function: function


@pytest.fixture(scope="module")
def quick_compilation():
    """For small programs that run a few times: compiling them is what takes long."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def traces_counted_from_zero():
    """`chex.assert_max_traces` counts by name: the parameters of one test would add up."""
    import chex

    chex.clear_trace_counter()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not any(name in item.nodeid for name in BEGUN_FIRST))


@pytest.fixture(scope="session", autouse=True)
def compilation_cache():
    import jax

    jax.config.update("jax_compilation_cache_dir", os.environ["JAXMASK_CACHE"] + "/xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
