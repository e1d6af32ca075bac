"""What a night began to read it reads to the end, or says what is missing; the clock decides nothing."""

import shutil

import pytest

from tests.faults import changes
from tests.faults.fault import Fault
from tests.faults.shop import Outcome, Shops


@pytest.mark.faults
@pytest.mark.parametrize("fault", changes.FAULTS, ids=lambda fault: fault.name)
def test_a_change_while_a_job_is_at_work_loses_and_doubles_nothing(shops: Shops, fault: Fault) -> None:
    if "clock" in fault.name and shutil.which("cc") is None:
        pytest.skip("no C compiler")
    assert fault.inject(shops) == Outcome()
