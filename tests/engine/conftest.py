import flax.linen as nn
import pytest

from jaxmask.run.plan import Planned


@pytest.fixture
def small_plan():
    return Planned(8, 4, 0, False, nn.Dense(3), (8, 8, 1))
