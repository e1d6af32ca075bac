"""Small models that translate words, for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import BartConfig, BartForConditionalGeneration

from tests import tiny


def translator(folder: Path, vocabulary: Sequence[str], words: Mapping[str, str]) -> str:
    """A small BART that was taught, in seconds, to repeat one or two of ``vocabulary``, or say others for them."""
    torch.manual_seed(0)
    tokenizer = tiny.tokenizer()
    tokenizer.eos_token = "[SEP]"
    model = BartForConditionalGeneration(BartConfig(
        vocab_size=30, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=32, pad_token_id=0,
        bos_token_id=2, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=None, dropout=0.0,
    ))  # fmt: skip
    known, said = (
        torch.tensor(tokenizer.convert_tokens_to_ids(of))
        for of in (vocabulary, [words.get(word, word) for word in vocabulary])
    )
    pairs = torch.cartesian_prod(torch.arange(len(vocabulary)), torch.arange(len(vocabulary)))
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(300):
        of = pairs if step % 3 else pairs[:: len(vocabulary), :1]
        model(input_ids=known[of], labels=F.pad(said[of], (0, 1), value=3)).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
