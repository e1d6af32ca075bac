"""Events that pile up take little longer than events that do not."""

import pytest

from tests.faults import skew
from tests.faults.fault import Fault
from tests.faults.shop import Outcome, Shops


@pytest.mark.faults
@pytest.mark.parametrize("fault", skew.FAULTS, ids=lambda fault: fault.name)
def test_a_night_with_one_heavy_user_and_one_heavy_item_takes_little_longer(shops: Shops, fault: Fault) -> None:
    assert fault.inject(shops) == Outcome()
