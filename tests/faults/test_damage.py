"""What is damaged is named in one sentence, and nothing changes."""

import pytest

from tests.faults import damage
from tests.faults.fault import Fault
from tests.faults.shop import Outcome, Shops


@pytest.mark.parametrize("fault", damage.FAULTS, ids=lambda fault: fault.name)
def test_damaged_files_are_named_in_one_sentence_and_nothing_changes(shops: Shops, fault: Fault) -> None:
    assert fault.inject(shops) == Outcome()
