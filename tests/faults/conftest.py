"""The shops that faults are let loose on."""

import pytest
from pyspark.sql import SparkSession

from tests.faults.shop import Shop, Shops


@pytest.fixture(scope="session")
def shops(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Shops:
    """One undisturbed night for all workers of pytest, and as many copies of the shop before it as there are faults."""
    own = tmp_path_factory.getbasetemp()
    shared = (own if worker_id == "master" else own.parent) / "faults"
    return Shops(Shop(spark, shared / "first"), tmp_path_factory.mktemp("shops"))


_LONG = ["test_soak.py", "test_skew.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first, so that no worker waits for them at the end.

    Skew is the first of all: it can prepare its own tables while another worker makes the shop.
    """
    items.sort(key=lambda item: item.path.name not in _LONG)
