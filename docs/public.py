"""What the site must show: every public name of the package, and every example in order."""

import importlib
import pkgutil
from types import ModuleType

import jaxmask


def packages() -> dict[str, ModuleType]:
    """The modules that say what is public (by `__all__`), by name."""
    names = [jaxmask.__name__]
    names += [m.name for m in pkgutil.walk_packages(jaxmask.__path__, "jaxmask.") if m.ispkg]
    modules = {name: importlib.import_module(name) for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "__all__")}


def public() -> list[str]:
    """The full names of all public things: what `__all__` lists, and what listed modules hold."""
    found = []
    for package, module in packages().items():
        for name in module.__all__:
            value = getattr(module, name)
            if not isinstance(value, ModuleType):
                found.append(f"{package}.{name}")
            elif value.__name__ not in packages():
                found += [f"{value.__name__}.{each}" for each in defined(value)]
    return found


def defined(module: ModuleType) -> list[str]:
    """The public functions and classes that a module without `__all__` defines."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]


def short_names() -> dict[str, str]:
    """As docstrings name them (`mask.keep_top`, `mask.file.save`) -> the full name."""
    names = {name.removeprefix("jaxmask."): name for name in public()}
    more = {f"mask.file.{name.removeprefix('maskfile.')}": full
            for name, full in names.items() if name.startswith("maskfile.")}  # fmt: skip
    return {**names, **more}


# the order of the gallery
EXAMPLES = [f"{name}.py" for name in (
    "adapt_threshold", "adapt_top_k", "adapt_sign", "adapt_levels", "adapt_supermask",
    "adapt_lora", "adapt_full", "adapt_partial", "adapt_bias", "adapt_norm",
    "adapt_linear_probe", "adapt_knn", "mask_file", "many_tasks", "prune_magnitude",
    "prune_random", "prune_snip", "prune_grasp", "prune_synflow", "prune_gradient_norm",
    "prune_fisher", "prune_optimal_brain_damage", "prune_movement", "prune_lottery",
    "prune_structured", "compare_runs",
)]  # fmt: skip
