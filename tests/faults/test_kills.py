"""A run that is killed leaves what readers can use, and a rerun what an undisturbed run would have left."""

import pytest

from tests.faults import kills
from tests.faults.fault import Fault
from tests.faults.shop import Outcome, Shops

SOME = [*kills.FAULTS[: kills.MOMENTS : 2], *kills.FAULTS[kills.MOMENTS :]]
"""Every other moment, and two that are known; bench.faults goes through all."""


@pytest.mark.faults
@pytest.mark.parametrize("fault", SOME, ids=lambda fault: fault.name)
def test_after_a_kill_and_a_rerun_the_table_is_that_of_an_undisturbed_run(shops: Shops, fault: Fault) -> None:
    assert fault.inject(shops) == Outcome()
