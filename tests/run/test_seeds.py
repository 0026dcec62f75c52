import jax
import pytest

from jaxmask.errors import InputError
from jaxmask.run import seeds


def test_seeds_belong_to_names():
    assert seeds.number(0, "a") != seeds.number(0, "b") != seeds.number(1, "b")
    keys = [seeds.named_key(*which) for which in ((0, "a"), (0, "b"), (1, "a"), (0, "a"))]
    data = [jax.random.key_data(key).tobytes() for key in keys]
    assert len(set(data)) == 3
    assert data[0] == data[3]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(InputError, match="seed is"):
        seeds.check_seed(seed)
