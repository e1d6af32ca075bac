"""Words replaced by a head that was taught, in seconds, which words stand where."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from llmrec.domain.noise import draws
from llmrec.errors import ArtifactError
from llmrec.nn.masked_language import MaskedLanguage
from llmrec.nn.rewriter import Rewriter, Rewriting
from tests import tiny
from tests.nn.planted_shop import THINGS
from tests.nn.test_copies import SEEDS, robustness

ALIKE = (("red", "crimson"), ("blue", "azure"), ("green", "jade"))
SAID = (("warm", "old"), ("cold", "new"), ("fresh", "leafy"))
"""What goes with the words of the same place above, whichever of the two it is."""


def spoken(colour: str, _: str, thing: str) -> str:
    """What a shop says of things of a colour, without the other word for it."""
    return f"{colour} {SAID[[pair[0] for pair in ALIKE].index(colour)][0]} {thing}"


@pytest.fixture(scope="module")
def head() -> MaskedLanguage:
    """Has read sentences of both words for each colour, and what goes with it."""
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertForMaskedLM(BertConfig(vocab_size=30, max_position_embeddings=64, **size))
    tokenizer, rng = tiny.tokenizer(), np.random.default_rng(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(200):
        groups = rng.integers(3, size=64)
        sentences = [f"{rng.choice(ALIKE[of])} {rng.choice(SAID[of])} {rng.choice(THINGS)}" for of in groups]
        batch = tokenizer(sentences, return_tensors="pt")
        asked = torch.from_numpy(rng.integers(3, size=64))[:, None]
        labels = torch.full_like(batch["input_ids"], -100).scatter(1, asked, batch["input_ids"].gather(1, asked))
        batch["input_ids"].scatter_(1, asked, tokenizer.mask_token_id)
        model(**batch, labels=labels).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return MaskedLanguage(model, tokenizer)


def many(head: MaskedLanguage, text: str, share: float, count: int = 200) -> Counter[str]:
    return Counter(head([text] * count, share, [draws(1, number) for number in range(count)], at_most=10))


def test_words_are_replaced_by_what_fits_in_their_place_and_the_rest_stays(head: MaskedLanguage) -> None:
    text = "red  warm   tea"
    found = many(head, text, share=0.3)
    wrong = sum(times for one, times in found.items() if {"azure", "blue", "jade", "green"} & set(one.split()))
    assert min(found[one] for one in (text, "crimson  warm   tea", "red  old   tea")) > 10
    assert wrong < 20
    assert all("  " in one and "   " in one for one in found)
    assert many(head, text, share=0.0) == {text: 200}


def test_a_share_of_the_words_is_replaced_never_by_themselves(head: MaskedLanguage) -> None:
    text = "red warm tea cup"
    changed = [
        sum(one != other for one, other in zip(text.split(), copy.split(), strict=True)) / 4
        for copy, times in many(head, text, share=0.4, count=300).items() for _ in range(times)
    ]  # fmt: skip
    assert abs(np.mean(changed) - 0.4) < 0.05


def test_a_copy_does_not_depend_on_the_texts_beside_it(head: MaskedLanguage) -> None:
    texts = ["red warm tea", "blue cold cup and old red pot", "", "green leafy dog"] * 20
    together = head(texts, 0.5, [draws(1, place) for place in range(80)], at_most=10)
    alone = [head([text], 0.5, [draws(1, place)], at_most=10)[0] for place, text in enumerate(texts)]
    assert together == alone


class Unchanged(MaskedLanguage):
    """A head that finds nothing better than what is there."""

    def _draw(self, logits: np.ndarray, was: int, rng: np.random.Generator) -> str:
        return str(self._tokenizer.decode([was]))


def test_the_head_teaches_words_that_no_text_of_the_shop_has(head: MaskedLanguage, tmp_path: Path) -> None:
    plan = Rewriting(seed=1, copies=5, masked_language=0.5)
    without = robustness(tmp_path / "without", spoken, seeds=SEEDS[:2])
    by_head, unchanged = (
        robustness(tmp_path / name, spoken, Rewriter(plan, tiny.tokens(), None, one), SEEDS[:2])
        for name, one in (("head", head), ("unchanged", Unchanged(head._model, head._tokenizer)))
    )
    assert by_head > without + 0.1
    assert without == unchanged


def test_what_is_saved_loads_and_an_encoder_without_the_head_is_refused(head: MaskedLanguage, tmp_path: Path) -> None:
    head.save(tmp_path / "head")
    loaded = MaskedLanguage.load(str(tmp_path / "head"))
    assert many(loaded, "red warm tea", 0.5) == many(head, "red warm tea", 0.5)
    tiny.encoder_folder(tmp_path / "encoder")
    with pytest.raises(ArtifactError, match=r"encoder: holds no masked-language head \(missing: cls\.predictions"):
        MaskedLanguage.load(str(tmp_path / "encoder"))
    with pytest.raises(ArtifactError, match="nowhere: cannot be loaded"):
        MaskedLanguage.load(str(tmp_path / "nowhere"))
