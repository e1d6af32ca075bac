"""Every setting of every job, declared once: its default, its range and, below it, its meaning and unit."""

import hashlib
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from llmrec.domain.features import needs_encoder
from llmrec.domain.secrets import without_secrets
from llmrec.domain.table_names import table_name
from llmrec.domain.templates import ITEM_FIELDS, USER_FIELDS, names, require_known


class Settings(BaseModel):
    """Base of all sections: unknown keys are refused and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Source(Settings):
    """One of the user's own tables, as it is."""

    path: str
    """Any path Spark reads, or catalog.schema.table."""
    format: Literal["csv", "json", "parquet", "delta"]
    """csv also reads TSV (options: {sep: "\\t"}); json reads JSON lines."""
    options: dict[str, str] = {}
    """Options of Spark's reader for this format."""
    columns: dict[str, str]
    """Our column -> yours: a column name or a Spark SQL expression over your columns."""


class Sources(Settings):
    """What prepare reads; events and items are needed, the others add to them."""

    events: Source | None = None
    items: Source | None = None
    users: Source | None = None
    impressions: Source | None = None


class Tables(Settings):
    """Where the tables of llmrec are."""

    location: str = "lake"
    """A folder (contains "/", or names one folder), or a catalog schema (catalog.schema)."""
    names: dict[str, str] = {}
    """Table -> its own path or catalog name, where it is not location/table."""

    def name(self, table: str) -> str:
        """Return the path or catalog name of ``table``."""
        return self.names.get(table) or table_name(self.location, table)


class Prepare(Settings):
    """How source rows are checked; a row that fails goes to quarantine."""

    earliest_event: date = date(1990, 1, 1)
    """Events before this day have an impossible time (UTC)."""
    max_text_chars: PositiveInt = 20_000
    """A longer text, in whichever column, is refused; the model reads far less."""


class Privacy(Settings):
    """What is shown of users outside the tables that need it; docs/privacy.md says where they are."""

    keep_text: bool = False
    """Whether quarantine keeps what users wrote (events.text, users.text); else it says how long it was."""
    pseudonyms: bool = False
    """Whether ids of users are replaced by keyed hashes everywhere but in recommendations (and in what you supply)."""


class Liking(Settings):
    """Which events say that a user likes an item; the others only count as seen."""

    events: list[str] = []
    """Values of the column ``event`` that count; empty: all."""
    min_value: float | None = None
    """Events with a ``value`` below this do not count; null: the value does not matter."""


class Encoder(Settings):
    """The pretrained language model that fine-tuning starts from."""

    path: str = "encoder"
    """A local folder with a BERT-like encoder, or its hub name."""
    allow_download: bool = False
    """Whether a hub name may be fetched from the network."""


class Texts(Settings):
    """What the model reads; a trained model keeps the settings it was trained with."""

    history_items: PositiveInt = 8
    """The user's text is the profile and at most this many liked items, the latest, oldest first."""
    history_tokens: PositiveInt = 12
    """A liked item enters the user's text with this many of its first word pieces (its title, as a rule)."""
    words_tokens: int = Field(default=0, ge=0)
    """After a liked item stand this many of the first word pieces that the user wrote on it (events.text); 0: none."""
    user_template: list[str] = ["{profile}"]
    """What stands before the history, in parts, joined by ". "; a part is left out where one of its values is missing.
    Placeholders are {profile} (users.text), {segment}, {attributes[NAME]} and {scene} (events.scene of what was taken
    next; score.scene for the lists)."""
    item_template: list[str] = Field(default=["{title}", "{category}", "{text}"], min_length=1)
    """An item's text, in parts likewise: {title}, {category}, {text} and {attributes[NAME]}. Histories show its
    beginning."""
    max_user_tokens: int = Field(default=112, ge=8, le=512)
    """The user's text is cut to this many word pieces; the oldest items go first."""
    max_item_tokens: int = Field(default=40, ge=8, le=512)
    """An item's text is cut to this many word pieces; cost grows with it."""

    @field_validator("user_template", "item_template")
    @classmethod
    def _name_what_is_known(cls, template: list[str], info: ValidationInfo) -> list[str]:
        require_known(template, USER_FIELDS if info.field_name == "user_template" else ITEM_FIELDS)
        return template

    @model_validator(mode="after")
    def _leave_room(self) -> "Texts":
        """Refuse words that leave no room for even one item."""
        needed = self.history_tokens + self.words_tokens + 2
        if self.words_tokens and needed > self.max_user_tokens:
            raise ValueError(
                f"history_tokens and words_tokens make an item of up to {needed} word pieces with its marks: "
                f"max_user_tokens is {self.max_user_tokens}, expected at least as many"
            )
        return self

    @property
    def by_scene(self) -> bool:
        """Whether a user's text names the scene."""
        return names(self.user_template, "scene")


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


class Candidates(Settings):
    """How many candidates each source adds per user; 0 switches it off."""

    dense: int = Field(default=50, ge=0)
    """Nearest items to the user's vector, by the fine-tuned encoder."""
    dense_search: Literal["exact", "approximate"] = "exact"
    """approximate looks at a part of the items, with faiss (pip install "llmrec[approximate]")."""
    similar: int = Field(default=50, ge=0)
    """Nearest items to the mean vector of the user's latest ones."""
    sequential: int = Field(default=50, ge=0)
    """Items that the order of the latest ones asks for, by a small transformer over their vectors (0: not trained)."""
    lexical: int = Field(default=50, ge=0)
    """Items whose texts share telling words with the latest ones'."""
    covisitation: int = Field(default=100, ge=0)
    """Items that users with the same recent items took too."""
    userbased: int = Field(default=50, ge=0)
    """Items of the users whose items are most like the recent ones."""
    next: int = Field(default=50, ge=0)
    """Items that users take soon after the recent ones."""
    ease: int = Field(default=50, ge=0)
    """Items that the recent ones speak for in a linear model of the whole catalogue (EASE)."""
    ease_items: PositiveInt = 10_000
    """Larger catalogues go without ease: it inverts a matrix on the driver, 16 bytes for each pair of items."""
    als: int = Field(default=0, ge=0)
    """Items that a factorization of all users by all items gives the user (Spark's ALS), in ten passes over
    all events."""
    popularity: int = Field(default=30, ge=0)
    """Most taken items of the popularity window."""
    segment: int = Field(default=20, ge=0)
    """Most taken items of the popularity window among users of the same segment (users.segment)."""
    arrivals: int = Field(default=10, ge=0)
    """Items that became available last (items.available_from)."""
    again: int = Field(default=20, ge=0)
    """The user's latest items, where rules.repeat_after_days allows them."""
    supplied: int = Field(default=200, ge=0)
    """Rows of the candidates table, best source_score first."""
    pair_scored: int = Field(default=100, ge=0)
    """Of all of them, those that the pair scorer reads: the ones that the sources together rank highest. It costs
    most of a night; 0 switches it off."""
    popularity_days: PositiveInt = 30
    """Length of the popularity window before the run date, in days."""
    recent_events: PositiveInt = 20
    """Latest events of a user, liked or not, that co-visitation, next and ease look up."""
    covisitation_events: PositiveInt = 200
    """Latest events of a user that are counted for co-visitation, next and ease; bounds the cost of heavy users."""
    neighbours: PositiveInt = 200
    """Related items kept per item, of each kind."""


class Rules(Settings):
    """What may be recommended to whom."""

    repeat_after_days: int | None = Field(default=None, ge=0)
    """An item the user has had is recommended again this many days later; 0: at once; null: never."""

    min_score: float = Field(default=0.0, ge=0, le=1)
    """No item with a lower probability: lists may be shorter than score.top_n."""
    at_most: dict[Annotated[str, Field(pattern=r"^[\w. -]+$")], PositiveInt] = {}
    """How many items of a list may share a value: of category, or of a key of attributes (brand, creator, ...)."""
    diversity: float = Field(default=0.0, ge=0, le=1)
    """What being unlike the items already in the list weighs, next to the score; 0: nothing. The list is still ordered
    by score."""

    explore_share: float = Field(default=0.0, ge=0, le=0.5)
    """The chance of each place after the first to go to a new item among the candidates."""
    explore_below: PositiveInt = 10
    """An item with fewer events than this is new."""

    def again_before(self, day: date) -> date | None:
        """Return the day before which the last event on an item must lie to be recommended again on ``day``."""
        return None if self.repeat_after_days is None else day - timedelta(days=self.repeat_after_days)


class Score(Settings):
    """The published lists."""

    top_n: PositiveInt = 10
    """Rows per user."""
    scene: str = "default"
    """Written to the column scene."""
    partitions: PositiveInt = 16
    """Tasks of the scoring stage; at least a few per core, so that progress shows."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """What BERT multiplies on a CPU; auto: int8 if the model was exported to it, else bfloat16 where that is fast, else
    float32. int8 costs quality; it is for the prefix scorer, with nothing added to the encoder: elsewhere it means the
    best floats."""
    reuse: bool = True
    """Whether users and pairs are read again only if a text or the model is another than on earlier nights, whose
    numbers are kept in the folder work; lists come out the same."""
    reuse_days: PositiveInt = 7
    """What no night has asked for in so many days is kept no longer."""
    reuse_gigabytes: PositiveFloat = 10.0
    """What is kept takes no more; users who were not there for longest go first."""


class Gates(Settings):
    """How far a night may be from the latest published ones of its scene; beyond that score publishes nothing and ends
    with exit code 3. null switches a bound off."""

    nights: int = Field(default=7, ge=0)
    """Earlier nights whose median is compared with, a week so that every weekday is in it; 0: none is."""
    max_fall: float | None = Field(default=0.3, ge=0, le=1)
    """Share by which a count may be lower: events, eligible users, available items, items in lists, candidates per
    user."""
    max_rise: float | None = Field(default=1.0, ge=0)
    """Share by which a count may be higher; 1: twice as high."""
    max_last_day_fall: float | None = Field(default=0.9, ge=0, le=1)
    """Share by which the events of the last day alone may be fewer, as on a holiday."""
    max_share_change: float | None = Field(default=0.2, ge=0, le=1)
    """How much a share may be higher or lower: of fallback users, of short lists, of likes among events, of rows
    without a value; 0.2: 20 percentage points."""
    max_score_shift: float | None = Field(default=0.5, ge=0)
    """How far the 10, 50 and 90 % quantiles of the scores may move, and how much nearer together they may be, in units
    of the earlier distance of the outer two."""
    max_empty: float | None = Field(default=0.5, ge=0, le=1)
    """Share of the eligible users who may get no list, whatever earlier nights had."""
    same_columns: bool = True
    """Whether columns of the tables that are read and written must be there as last night, with the same types."""


class Evaluate(Settings):
    """How the pipeline is judged on the held-out events."""

    k: list[PositiveInt] = Field(default=[5, 10, 20], min_length=1)
    """List lengths of the metrics."""
    max_users: PositiveInt = 20_000
    """Users judged (a sample by hash)."""
    bootstrap: PositiveInt = 1_000
    """Resamples of users behind each confidence interval."""


class Report(Settings):
    """The HTML page."""

    path: str = "report.html"
    """Where it is written."""
    sample_users: int = Field(default=5, ge=0)
    """Users shown with what they liked and what they are recommended."""
    epsilon: float | None = Field(default=None, gt=0)
    """Counts of users by segment get Laplace noise of scale 1 / epsilon (differential privacy), from the secret key;
    null: none."""

    @model_validator(mode="after")
    def _hide_all(self) -> "Report":
        """Refuse to hide users in counts and to show some by name."""
        if self.epsilon is not None and self.sample_users:
            raise ValueError(f"epsilon hides single users: sample_users is {self.sample_users}, expected 0")
        return self


class Log(Settings):
    """What those who watch the jobs are told, beside the console and the table runs; on the driver's host. The address
    to call when a job failed is in the environment: LLMREC_FAILURE_WEBHOOK."""

    file: str | None = None
    """Where a line of JSON is added when a stage begins, when it ends, and when the run does; null: nowhere."""
    metrics_folder: str | None = None
    """Folder of Prometheus' node exporter (textfile collector): each job keeps llmrec_JOB.prom there; null: none."""


class Maintain(Settings):
    """What the tables keep when maintain has run."""

    keep_days: PositiveInt = 90
    """Days before the last one that recommendations, nights, metrics, runs and quarantine keep."""
    keep_files_days: int = Field(default=7, ge=7)
    """Days for which a reader of an older version finds its files."""


class Registry(Settings):
    """MLflow's registry of models, where model is a name in it."""

    uri: str = "sqlite:///mlflow.db"
    """MLflow's server, or a database in a local file with the models in mlflow-artifacts beside it. Name a password by
    ${oc.env:VARIABLE}."""
    margin: float = Field(default=0.02, ge=0, lt=1)
    """A new model becomes champion unless its NDCG@10 is lower than the champion's by more than this share of it."""


class Config(Settings):
    """All settings of all jobs."""

    sources: Sources = Sources()
    tables: Tables = Tables()
    model: str = "models:/llmrec@champion"
    """The fine-tuned model, which train writes and score and evaluate read: a name and an alias in the registry, or a
    folder that train replaces. score and evaluate also take models:/NAME/VERSION."""
    registry: Registry = Registry()
    work: str = "work"
    """Folder for what a run needs while it runs, and for what nights keep for one another (score.reuse); on a cluster,
    on storage that all hosts share."""
    prepare: Prepare = Prepare()
    privacy: Privacy = Privacy()
    liking: Liking = Liking()
    encoder: Encoder = Encoder()
    texts: Texts = Texts()
    holdout: Holdout = Holdout()
    train: Train = Train()
    candidates: Candidates = Candidates()
    rules: Rules = Rules()
    score: Score = Score()
    gates: Gates = Gates()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()
    maintain: Maintain = Maintain()
    log: Log = Log()
    spark: dict[str, str] = {}
    """Spark settings for the session, such as spark.sql.shuffle.partitions; spark-submit's own flags win. A secret is
    named by ${oc.env:VARIABLE}, or stands in Spark's own configuration."""

    @model_validator(mode="after")
    def _know_the_users(self) -> "Config":
        """Refuse pseudonyms where prepare does not give them."""
        if self.privacy.pseudonyms and self.sources.events is None:
            raise ValueError(
                "privacy.pseudonyms are given by prepare, and taken back by the ids in the sources: sources.events is "
                "null, expected a source"
            )
        return self

    @model_validator(mode="after")
    def _know_the_scene(self) -> "Config":
        """Refuse a scene in texts where the examples have none."""
        if self.texts.by_scene and self.train.learn_from == "impressions":
            raise ValueError(
                "texts.user_template names {scene}, which impressions do not have: train.learn_from is impressions, "
                "expected likes or events"
            )
        return self

    @property
    def scorer(self) -> str:
        """The scorer that is needed: none for a ranker that goes by events or words alone."""
        return self.train.scorer if self.train.ranker == "hybrid" or needs_encoder(self.train.ranker) else "none"

    def shown(self) -> "Config":
        """Return the same settings with their passwords hidden."""
        return Config.model_validate(without_secrets(self.model_dump(mode="json")))

    @property
    def sha(self) -> str:
        """Fingerprint of all settings but passwords, 12 hexadecimal digits."""
        return hashlib.sha256(self.shown().model_dump_json().encode()).hexdigest()[:12]
