"""The registry, with a real MLflow database in a file."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from llmrec.errors import ConfigError, RegistryError
from llmrec.registry import Address, Facts, Registered, Registry

CHAMPION = Address("shop", "champion", None)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow without models; making its tables takes seconds."""
    path = tmp_path_factory.mktemp("of a shop") / "mlflow.db"
    Registry(f"sqlite:///{path}").open("shop")
    return path


@pytest.fixture
def registry(database: Path, tmp_path: Path) -> Registry:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "mlflow.db").write_bytes(database.read_bytes())
    return Registry(f"sqlite:///{tmp_path}/a b/mlflow.db")


def add(registry: Registry, folder: Path, sha: str) -> Registered:
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / "weights").write_text(sha)
    facts = Facts(
        "night",
        {"train.seed": 1},
        {"new/lists_NDCG_at_10": 0.25},
        {"run_date": "2026-01-31", "events_from": "2026-01-01"},
        "train: {}\n",
    )
    return registry.add("shop", folder / "in", sha, facts)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("models:/shop@champion", CHAMPION),
        ("models:/a shop.v2/17", Address("a shop.v2", None, "17")),
    ],
)
def test_a_model_uri_is_read_as_mlflow_writes_it(model: str, expected: Address) -> None:
    assert Address.of(model) == expected


@pytest.mark.parametrize("model", ["models:/shop", "models:/shop/latest", "models:/shop@", "models:shop@champion"])
def test_a_uri_that_names_no_single_model_is_refused(model: str) -> None:
    with pytest.raises(ConfigError, match="expected models:/NAME@ALIAS or models:/NAME/VERSION"):
        Address.of(model)


def test_what_was_added_is_found_with_its_folder_and_what_was_tracked(registry: Registry, tmp_path: Path) -> None:
    added = add(registry, tmp_path, "aa11")
    assert registry.find(CHAMPION) is None
    registry.promote("shop", "champion", added.version)
    found = registry.find(CHAMPION)
    assert found == added == registry.find(Address("shop", None, "1"))
    assert (found.fetch(tmp_path / "out") / "weights").read_text() == "aa11"
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/a b/mlflow.db")
    [run] = client.search_runs([client.get_experiment_by_name("shop").experiment_id])  # type: ignore[union-attr]
    assert run.data.metrics == {"new/lists_NDCG_at_10": 0.25}
    assert run.data.params == {"train.seed": "1"}
    assert run.info.status == "FINISHED"


def marks(registry: Registry) -> dict[str, str | None]:
    versions = registry._client.search_model_versions("name = 'shop'")
    return {str(one.version): one.tags.get("learned_from_erased_users") for one in versions}


def test_versions_that_may_have_learned_from_an_erased_user_are_marked_once_and_hand_it_on(
    registry: Registry, tmp_path: Path
) -> None:
    add(registry, tmp_path, "first")
    undated = add(registry, tmp_path, "undated")
    registry._client.delete_model_version_tag("shop", undated.version, "run_date")

    def in_doubt(run_date: str | None, events_from: str | None) -> bool:
        return run_date is None and events_from == "2026-01-01"

    assert registry.mark_learned("shop", in_doubt, "noon") == ["version 2 of shop (undated)"]
    assert marks(registry) == {"1": None, "2": "noon"}
    assert len(registry.mark_learned("shop", lambda *_: True, "later")) == 2
    assert marks(registry) == {"1": "later", "2": "noon"}
    for before in ("undated", "nowhere"):
        registry.hand_on_mark("shop", before, add(registry, tmp_path, f"after {before}").version)
    assert marks(registry) == {"1": "later", "2": "noon", "3": "noon", "4": None}


def test_one_goes_back_champion_by_champion_past_a_challenger_that_never_was_one(
    registry: Registry, tmp_path: Path
) -> None:
    first, _, third = (add(registry, tmp_path, sha) for sha in ("first", "challenger", "third"))
    registry.promote("shop", "champion", first.version)
    with pytest.raises(RegistryError, match="version 1, which followed none; expected one to go back to"):
        registry.before("shop", "champion")
    registry.promote("shop", "champion", third.version)
    now, earlier = registry.before("shop", "champion")
    assert (now.version, earlier.version) == ("3", "1")
    registry.go_back("shop", "champion", now, earlier)
    assert registry.find(CHAMPION) == first
    fourth = add(registry, tmp_path, "fourth")
    registry.promote("shop", "champion", fourth.version)
    assert registry.before("shop", "champion")[1] == first


def test_an_unreachable_server_is_named_without_its_password() -> None:
    with pytest.raises(RegistryError, match=r"registry: http://127.0.0.1:9 failed") as refused:
        Registry("http://night:secret@127.0.0.1:9").open("shop")
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database" * 100)
    with pytest.raises(RegistryError, match="expected MLflow's database or server"):
        Registry(f"sqlite:///{tmp_path}/mlflow.db").open("shop")
