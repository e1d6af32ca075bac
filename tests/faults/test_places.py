"""Where nothing can be written, a run says so, changes nothing, and a rerun publishes."""

import pytest

from tests.faults import places
from tests.faults.fault import Fault
from tests.faults.own_mounts import can_mount
from tests.faults.shop import Outcome, Shops


@pytest.mark.skipif(not can_mount(), reason="this user may not mount in a namespace of their own")
@pytest.mark.parametrize("fault", places.FAULTS, ids=lambda fault: fault.name)
def test_a_place_that_cannot_be_written_is_named_and_a_rerun_publishes(shops: Shops, fault: Fault) -> None:
    assert fault.inject(shops) == Outcome()
