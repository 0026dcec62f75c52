"""One compilation cache for all tests: what two of them need, one compiles."""

import os
import tempfile

import pytest

# before JAX is imported; subprocesses of tests inherit it
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAXMASK_CACHE", os.path.join(tempfile.gettempdir(), f"jaxmask-tests-{os.getuid()}")
)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache():
    import jax

    jax.config.update("jax_compilation_cache_dir", os.environ["JAXMASK_CACHE"] + "/xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
