"""All settings of all jobs: each is declared once, with its default, its range and, below it, its meaning and unit."""

import hashlib

from pydantic import model_validator

from llmrec.domain.features import needs_encoder
from llmrec.domain.secrets import without_secrets
from llmrec.settings.base import Settings
from llmrec.settings.lists import Candidates, Gates, Rules, Score
from llmrec.settings.reporting import Evaluate, Log, Report
from llmrec.settings.tables import Liking, Maintain, Prepare, Privacy, Sources, Tables
from llmrec.settings.texts import Encoder, Texts
from llmrec.settings.training import Holdout, Registry, Train


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
