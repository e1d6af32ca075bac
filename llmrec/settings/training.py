"""Settings of what a model learns from, and how."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from llmrec.domain.features import needs_encoder
from llmrec.settings.base import Settings


class Holdout(Settings):
    """Events kept from training, for evaluate to judge by."""

    by: Literal["time", "last_events"] = "time"
    """time: the last days before the run date; last_events: each user's last liked events."""
    days: PositiveInt = 7
    """Length of the held-out period and of the validation period before it (by: time)."""
    events: PositiveInt = 5
    """Liked events held out per user, and as many before them for validation (by: last_events)."""


class Augment(Settings):
    """Copies of texts and histories, a little changed, that fine-tuning reads in turn with the originals; off as long
    as nothing is named."""

    copies: int = Field(default=3, ge=1, le=100)
    """Copies of each item text, profile and history. Any of them, or the original, is read, all alike."""
    delete: float = Field(default=0.0, ge=0, lt=1)
    """Share of the words that are left out."""
    swap: float = Field(default=0.0, ge=0, lt=1)
    """Share of the words that change places with the next one."""
    mask: float = Field(default=0.0, ge=0, lt=1)
    """Share of the words that the encoder's mask token stands for; left out where it has none."""
    cut: float = Field(default=0.0, ge=0, lt=1)
    """Share of the words that are cut off the ends."""
    synonyms: str | None = None
    """CSV file of yours with the columns word and synonym, one pair a line; words are replaced as it says."""
    synonym_share: float = Field(default=0.3, gt=0, le=1)
    """Share of the words of that file that are replaced."""
    masked_language: float = Field(default=0.0, ge=0, lt=1)
    """Share of the words that are replaced by what the encoder's own masked-language head expects there."""
    back_translation: tuple[str, str] | None = None
    """Two folders (or hub names) of models that translate: texts go to another language with the first, and back with
    the second."""
    mix: float = Field(default=0.0, ge=0, lt=1)
    """Share of a history that is replaced from histories of other users who went on to the same item."""

    @property
    def rewrites(self) -> bool:
        """Tell whether texts are changed."""
        shares = self.delete, self.swap, self.mask, self.cut, self.masked_language
        return any(shares) or self.synonyms is not None or self.back_translation is not None


Objective = Literal["listwise", "bpr", "two-class", "bce", "mse", "mae", "distill", "in-batch"]


class Train(Settings):
    """Fine-tuning of the encoder and of the pair scorer."""

    seed: int = 1
    """Seed of sampling, shuffling and initialisation."""
    ranker: Literal[
        "hybrid",
        "popularity",
        "co-visitation",
        "user-based",
        "next",
        "ease",
        "als",
        "lexical",
        "similar",
        "sequential",
        "dense",
        "bert",
    ] = "hybrid"
    """hybrid learns from all sources and the pair scorer how to rank; the others go by one of them alone."""
    ensemble: PositiveInt = 1
    """Sets of trees in the hybrid ranker, each with a seed of its own: their mean depends less on chance, and takes as
    many times longer."""
    scorer: Literal["prefix", "joint", "dot", "bilinear", "attention", "content", "none"] = "prefix"
    """prefix reads a user once for all candidates; joint reads every pair as one text, many times slower; dot, bilinear
    and attention read user and item apart and compare vectors; content compares those of the pretrained encoder, which
    is not tuned; none reads nothing: no encoder is tuned or asked, lists
    come from events and words."""
    learn_from: Literal["likes", "events", "impressions"] = "likes"
    """likes: what was liked next; events: what was taken next, liked or not, its value being the rating; impressions:
    what was shown, clicked or not."""
    objectives: dict[Objective, PositiveFloat] = Field(default={"listwise": 1.0, "in-batch": 1.0}, min_length=1)
    """What fine-tuning makes smaller, by weight. listwise, bpr and two-class set what was taken against negatives; bce
    against what was shown or taken and not liked; mse and mae learn ratings; distill learns what the teacher makes of
    all that is compared; in-batch learns the vectors."""
    teacher: str | None = None
    """The model folder, written by train, that distill learns from: one that is too slow for a night, as a rule."""
    position_bias: bool = False
    """Whether what was shown at the same place has something in common that is no matter of taste: a term for each
    place is learned beside the scores and left out of them (learn_from: impressions)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """How far two-class and bce move the truth towards even chances."""
    cached_layers: int = Field(default=4, ge=0)
    """Lower layers in which a candidate does not see the user, so that they are computed once per item (k of L)."""
    tuning: Literal["full", "head", "lora", "adalora", "adapters", "prefix"] = "full"
    """What of the encoder learns, beside the scorer's head: its weights; nothing; or little that is added to it: a
    low-rank part of queries and values, the same with ranks dealt out by importance, a bottleneck after each sublayer,
    virtual tokens that every text attends to."""
    tuning_rank: PositiveInt = 8
    """Rank of lora and adalora, width of adapters, virtual tokens of prefix."""
    frozen_layers: int = Field(default=2, ge=0)
    """Lower layers, and the embeddings, that keep their pretrained weights; adapters and prefix are in all layers."""
    frozen_embeddings: bool = False
    """Whether the embeddings keep theirs even if frozen_layers is 0."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """What the learning rate of a layer is multiplied with for that of the one below."""
    max_examples: PositiveInt = 20_000
    """Training examples per epoch (one user's history and the items liked next), sampled by hash."""
    replay: float = Field(default=0.3, ge=0, lt=1)
    """Where train goes on from the champion with what is new: the share of older examples among those it reads, so that
    what was learned from them is not lost."""
    positives: PositiveInt = 4
    """Items liked next, at most, in one example."""
    negatives: int = Field(default=12, ge=0)
    """Items the user did not take, drawn for each example, beside those shown or taken and not liked."""
    negatives_from: dict[Literal["covisitation", "popularity", "random", "hard"], PositiveFloat] = Field(
        default={"covisitation": 1.0, "popularity": 1.0}, min_length=1
    )
    """Where negatives are drawn, by share: among what is co-visited with the history, by popularity, from all items
    alike, among those whose vectors are nearest to the history's when an epoch begins."""
    batch_examples: PositiveInt = 16
    """Examples read at once."""
    accumulated_batches: PositiveInt = 1
    """Batches per optimiser step: their gradients are added up."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of the encoder, ten times that for the head; it rises over warm_up, then falls linearly."""
    warm_up: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps, or of max_minutes, over which the learning rate rises."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's."""
    max_gradient: float = Field(default=1.0, gt=0)
    """Longer gradients are cut to this length."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of each sublayer's outputs that is left out while learning."""
    r_drop: float = Field(default=0.0, ge=0)
    """Weight of what two readings with dropout disagree by; a step takes twice as long (0: one reading)."""
    adversarial: float = Field(default=0.0, ge=0)
    """How far words are moved to where it hurts most, for a second reading in each step (FGM; 0: one reading)."""
    gradient_checkpointing: bool = False
    """Compute what follows attention again for the gradients instead of keeping it: less memory, more time."""
    processes: PositiveInt = 1
    """Processes that fine-tune together, each on a GPU of its own where there are GPUs; batch_examples is what all of
    them read at once."""
    processes_on: Literal["driver", "executors"] = "driver"
    """Where more than one of them run: on the driver's host, or each as a task on an executor, with its GPU; the folder
    work must then be one that all hosts share."""
    max_epochs: PositiveInt = 3
    """Passes over the examples, at most."""
    max_minutes: float = Field(default=480, gt=0)
    """Training stops at the first validation after this many minutes."""
    validations: PositiveInt = 4
    """Validations per epoch, or a few more where its steps cannot be divided by them."""
    patience: PositiveInt = 3
    """Validations without a better NDCG before training stops."""
    max_validation_users: PositiveInt = 1_000
    """Users (a sample by hash) on whom early stopping is decided."""
    max_fusion_users: PositiveInt = 20_000
    """Users (a sample by hash, disjoint from the former) on whom the fusion ranker is trained."""
    augment: Augment = Augment()

    @property
    def fine_tunes(self) -> bool:
        """Whether there is a scorer that learns."""
        return self.scorer not in ("content", "none") and (self.ranker == "hybrid" or needs_encoder(self.ranker))

    @model_validator(mode="after")
    def _teach_something(self) -> "Train":
        """Refuse objectives that the examples or the scorer have nothing for."""
        chosen = set(self.objectives)
        if chosen & {"mse", "mae"} and self.learn_from != "events":
            raise ValueError(f"objectives mse and mae need ratings: learn_from is {self.learn_from}, expected events")
        if "bce" in chosen and self.learn_from == "likes":
            raise ValueError("objective bce needs items that were not liked: learn_from is likes, expected another")
        if not chosen - {"in-batch"} and self.scorer in ("prefix", "joint"):
            raise ValueError(
                f"objectives are {sorted(chosen)}, expected one that teaches the {self.scorer} scorer to score pairs"
            )
        if not self.negatives and self.learn_from == "likes" and chosen & {"listwise", "bpr", "two-class", "distill"}:
            raise ValueError(f"objectives are {sorted(chosen)} and all examples likes: negatives is 0, expected more")
        if "distill" in chosen and self.teacher is None:
            raise ValueError("objective distill needs a teacher: teacher is null, expected a model folder")
        if self.teacher is not None and "distill" not in chosen:
            raise ValueError(f"teacher is {self.teacher}: objectives are {sorted(chosen)}, expected distill among them")
        if self.teacher is not None and not self.fine_tunes:
            raise ValueError(
                f"teacher is {self.teacher}: with scorer {self.scorer} and ranker {self.ranker} no scorer is trained, "
                "expected others"
            )
        if self.position_bias and self.learn_from != "impressions":
            raise ValueError(f"position_bias needs places: learn_from is {self.learn_from}, expected impressions")
        if self.position_bias and not chosen & {"listwise", "bpr", "two-class", "bce"}:
            raise ValueError(f"position_bias is of the scores of pairs: objectives are {sorted(chosen)}")
        if self.label_smoothing and not chosen & {"two-class", "bce"}:
            raise ValueError(f"label_smoothing is of two-class and bce: objectives are {sorted(chosen)}")
        if (self.augment.rewrites or self.augment.mix) and not self.fine_tunes:
            raise ValueError(
                f"augment changes what fine-tuning reads: with scorer {self.scorer} and ranker {self.ranker} no scorer "
                "is trained, expected others"
            )
        if self.r_drop and not self.dropout:
            raise ValueError("r_drop compares two readings with dropout: dropout is 0, expected more")
        if self.adversarial and (self.tuning != "full" or self.frozen_layers or self.frozen_embeddings):
            raise ValueError(
                "adversarial moves the embeddings of words, so they must learn: expected tuning full, frozen_layers 0 "
                "and frozen_embeddings false"
            )
        return self


class Registry(Settings):
    """MLflow's registry of models, where model is a name in it."""

    uri: str = "sqlite:///mlflow.db"
    """MLflow's server, or a database in a local file with the models in mlflow-artifacts beside it. Name a password by
    ${oc.env:VARIABLE}."""
    margin: float = Field(default=0.02, ge=0, lt=1)
    """A new model becomes champion unless its NDCG@10 is lower than the champion's by more than this share of it."""
