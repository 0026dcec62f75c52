"""The folder in which JAX keeps compiled programs from one process to the next."""

import os
from pathlib import Path

import jax


def use_cache(folder: str) -> None:
    """Keeps compiled programs on disk, so that later runs of the same shapes start faster.

    Args:
      folder: "" is `xla` in `JAXMASK_CACHE`, or else in `~/.cache/jaxmask`; "off" keeps none.
    """
    if folder == "off":
        return
    base = os.environ.get("JAXMASK_CACHE") or Path.home() / ".cache" / "jaxmask"
    jax.config.update("jax_compilation_cache_dir", folder or str(Path(base) / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
