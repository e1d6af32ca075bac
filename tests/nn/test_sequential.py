from pathlib import Path

import numpy as np
import torch

from llmrec import columns as C
from llmrec.domain.users import User
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.retrieval import ExactIndex
from llmrec.nn.sequential import LONGEST, Sequential, fit_sequential, load_sequential, save_sequential
from llmrec.nn.sources import SOURCES, open_sources
from tests import tiny

ITEMS = 8


def circle(folder: Path, unseen: int = 0) -> Catalogue:
    """Items that are taken one after the other, round and round; after them some like the first that nobody took."""
    vectors = np.eye(ITEMS + unseen, 32, dtype=np.float32)
    vectors[ITEMS:, 0] = 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return tiny.catalogue(folder, ["tea"] * len(vectors), vectors=vectors, taken=[9] * ITEMS + [0] * unseen)


def walkers(step: int = 1) -> list[User]:
    return [tiny.user(f"u{start}", [(start + step * at) % ITEMS for at in range(5)]) for start in range(ITEMS)] * 4


def test_the_planted_order_is_learned_and_depends_on_the_last_item(tmp_path: Path) -> None:
    catalogue = circle(tmp_path / "catalogue")
    model = fit_sequential(catalogue, walkers(), seed=1)
    assert model is not None
    asked = [np.array([place, (place + 1) % ITEMS], np.int32) for place in range(ITEMS)]
    answers = model.next_vectors(asked, catalogue).numpy() @ catalogue.vectors.T
    assert answers.argmax(axis=1).tolist() == [(place + 2) % ITEMS for place in range(ITEMS)]


def test_a_new_item_like_the_next_one_is_found_without_training(tmp_path: Path) -> None:
    catalogue = circle(tmp_path / "catalogue", unseen=1)
    model = fit_sequential(catalogue, walkers(), seed=1)
    assert model is not None
    [answer] = model.next_vectors([np.array([ITEMS - 2, ITEMS - 1], np.int32)], catalogue).numpy() @ catalogue.vectors.T
    assert set(answer.argsort()[-2:].tolist()) == {0, ITEMS}


def test_a_user_is_read_the_same_alone_and_among_others_and_after_saving(tmp_path: Path) -> None:
    catalogue = circle(tmp_path / "catalogue")
    model = fit_sequential(catalogue, walkers(), seed=1)
    assert model is not None
    histories = [np.arange(count, dtype=np.int32) for count in (3, 0, 1, ITEMS)]
    together = model.next_vectors(histories, catalogue)
    alone = torch.cat([model.next_vectors([history], catalogue) for history in histories])
    assert torch.allclose(together, alone, atol=1e-6)
    assert not together[1].any()
    save_sequential(tmp_path / "weights", model)
    assert torch.equal(load_sequential(tmp_path / "weights").next_vectors(histories, catalogue), together)


def test_what_a_place_says_depends_on_no_later_item() -> None:
    model = Sequential(32).eval()
    first = torch.randn(1, LONGEST, 32)
    second = first.clone()
    second[:, 7:] = torch.randn(1, LONGEST - 7, 32)
    with torch.inference_mode():
        one, other = model(first), model(second)
    assert torch.equal(one[:, :7], other[:, :7])
    assert not torch.isclose(one[:, 7:], other[:, 7:]).all(dim=-1).any()


def test_items_that_are_not_liked_are_read_but_not_asked_for(tmp_path: Path) -> None:
    catalogue = circle(tmp_path / "catalogue")
    seen = np.array([0, 1, 2, 3], np.int32)
    bored = User("u", np.array([0], np.int32), seen, seen, seen)
    assert fit_sequential(catalogue, [bored], seed=1) is None


def test_the_source_proposes_what_follows_and_nothing_without_a_model_or_a_history(tmp_path: Path) -> None:
    catalogue = circle(tmp_path / "catalogue")
    model = fit_sequential(catalogue, walkers(), seed=1)

    def proposed(model: object, user: User) -> list[int]:
        sources = open_sources(catalogue, ExactIndex(catalogue.vectors), model, dict.fromkeys(SOURCES, 1))  # type: ignore[arg-type]
        [answer] = sources[C.SEQUENTIAL].ask([user], torch.zeros(1, 32))
        return answer.best(1).tolist()

    assert proposed(model, tiny.user("u", [2, 3])) == [4]
    assert proposed(model, tiny.user("u", [])) == []
    assert proposed(None, tiny.user("u", [2, 3])) == []
