"""Label, partition and combine parameter trees by path: trees with holes.

A *tree with holes* has the structure of the parameters and `None` in place of each leaf that it
lacks (the convention of `equinox.partition`). `None` is an empty subtree for JAX, so such trees go
through `jax.grad`, `jit`, `vmap`, `scan` and optax as they are.

A *path* joins the keys that lead to a leaf with `/`: `layer1_0/conv1/kernel`. The `value` under
which an `nnx.Variable`, or a box of Linen's such as `Partitioned`, holds its array is left out, so
an NNX state, boxed parameters and the same parameters in a plain dict have the same paths.

Whatever takes two trees matches them by path; containers may differ. The result has the structure
of the tree that is changed.
"""

from jaxmask.tree.label import LABELS, label
from jaxmask.tree.match import align, aligned, combine, matched, partition, replaced, some
from jaxmask.tree.path import (
    PyTree,
    has_leaves_at,
    is_floating,
    named_leaves,
    nested,
    paths,
    size,
)
from jaxmask.tree.shardings import shardings

__all__ = [
    "LABELS",
    "PyTree",
    "align",
    "aligned",
    "combine",
    "has_leaves_at",
    "is_floating",
    "label",
    "matched",
    "named_leaves",
    "nested",
    "partition",
    "paths",
    "replaced",
    "shardings",
    "size",
    "some",
]
