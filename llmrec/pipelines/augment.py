"""Copies of what fine-tuning reads, as the configuration says."""

from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.domain.noise import Noise
from llmrec.domain.synonyms import read_synonyms
from llmrec.nn.copies import write_copies
from llmrec.nn.examples import COPIES
from llmrec.nn.masked_language import MaskedLanguage
from llmrec.nn.pretrained import find_mask
from llmrec.nn.rewriter import Rewriter, Rewriting
from llmrec.nn.tokens import Tokens
from llmrec.nn.translation import Translation
from llmrec.settings.config import Config
from llmrec.spark.copies import add_copies, copy_texts
from llmrec.spark.items import INDEX
from llmrec.spark.shipping import Shipped, ship_folder


def open_rewriter(config: Config, tokens: Tokens) -> Rewriter | None:
    """Open what texts are rewritten with; None if they are not.

    Raises InputTableError or ArtifactError if the list of synonyms, or a model, is missing or of another kind.
    """
    augment, encoder = config.train.augment, config.encoder
    if not augment.rewrites:
        return None
    plan = Rewriting(
        seed=config.train.seed,
        copies=augment.copies,
        synonyms=read_synonyms(augment.synonyms) if augment.synonyms is not None else {},
        synonym_share=augment.synonym_share,
        masked_language=augment.masked_language,
        noise=Noise(augment.delete, augment.swap, augment.mask, augment.cut),
    )
    mask = find_mask(encoder.path, encoder.allow_download) if augment.mask else None
    return Rewriter(
        plan,
        tokens,
        None if mask is None else tokens.tokenizer.token_to_id(mask),  # a champion's tokenizer, perhaps
        MaskedLanguage.load(encoder.path, encoder.allow_download) if augment.masked_language else None,
        Translation.load(*augment.back_translation, encoder.allow_download) if augment.back_translation else None,
    )


def ship_augmentation(
    spark: SparkSession, rewriter: Rewriter | None, items: DataFrame, config: Config, name: str, work: Path
) -> "Augmentation | None":
    """Send ``rewriter`` to the workers, if there is one; None if nothing is to be added.

    ``name`` must be new in this session; the folder of that name in ``work`` stays until the last copy is made.
    """
    if rewriter is None:
        return Augmentation(config, items, None, "") if config.train.augment.mix else None
    version = rewriter.save(work / name)
    return Augmentation(config, items, ship_folder(spark, work / name, name, work), version)


@dataclass(frozen=True)
class Augmentation:
    """What is added to the examples of one training."""

    config: Config
    items: DataFrame
    """item, item_id, text: the night's."""
    rewriter: Shipped | None
    """None leaves texts as they are."""
    version: str
    """Of the rewriter."""

    def examples(self, sampled: DataFrame) -> DataFrame:
        """Add ``copies`` to the examples that are learned from."""
        augment, profiles = self.config.train.augment, None
        if self.rewriter is not None:
            texts = sampled.filter(F.col(C.TEXT) != "").select(C.USER, C.TEXT).distinct()  # several, by scene
            profiles = copy_texts(texts, C.USER, self.rewriter, self.config.texts.max_user_tokens)
        return add_copies(sampled, profiles, mix=augment.mix, copies=augment.copies, seed=self.config.train.seed)

    def write_items(self, folder: Path) -> None:
        """Write copies of all item texts to ``folder``, beside the examples."""
        if self.rewriter is not None:
            at_most = self.config.texts.max_item_tokens - 2
            copies = copy_texts(self.items, C.ITEM, self.rewriter, at_most)
            indexed = copies.join(self.items.select(C.ITEM, INDEX), on=C.ITEM, how="inner").orderBy(INDEX)
            write_copies(folder, indexed.select(COPIES).toArrow()[COPIES])
