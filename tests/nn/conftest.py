import pytest

from llmrec.nn.catalogue import Catalogue
from tests.nn.planted_shop import open_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """The planted shop."""
    return open_shop(tmp_path_factory.mktemp("shop") / "catalogue")
