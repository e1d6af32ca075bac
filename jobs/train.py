"""Fine-tunes the encoder and the pair scorer on events before a cut-off, then the ranker, and writes the model folder.

spark-submit jobs/train.py --config conf/demo.yaml --run-date 1998-04-23
"""

import os
import shutil
import sys
from pathlib import Path

from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.cli import Run, run_job
from llmrec.nn.artifact import (
    add_sequential,
    finish_model,
    load_encoder,
    replace_folder,
    require_replaceable,
    save_encoder,
)
from llmrec.nn.device import pick_device, return_memory, set_up_torch
from llmrec.nn.pretrained import load_tokens
from llmrec.nn.scorer import Scorer
from llmrec.nn.tokens import TextLimits
from llmrec.pipelines.examples import choose_examples
from llmrec.pipelines.holdout import counted_until, split
from llmrec.pipelines.night import build_catalogue, night_parts, open_night, relations_needed, user_rows
from llmrec.pipelines.training import (
    open_scorer,
    origin,
    train_ranker,
    train_scorer,
    train_sequential,
    training_key,
)
from llmrec.progress import spark_progress, training_bar
from llmrec.spark.shipping import ship_folder
from llmrec.spark.splits import PART, TRAIN, VALIDATION
from llmrec.spark.users import add_targets
from llmrec.spark.vector_cache import ensure_vectors


def main(run: Run) -> None:
    """Read tables, fine-tune, fit the ranker, write the model."""
    config, spark, cache = run.config, run.spark, run.table(C.ITEM_VECTORS)
    texts = config.texts
    require_replaceable(Path(config.model))
    limits = TextLimits(texts.history_items, texts.history_tokens, texts.max_user_tokens, texts.max_item_tokens)
    tokens = load_tokens(config.encoder.path, limits, config.encoder.allow_download)
    scorer = open_scorer(config)
    night = open_night(**run.read_night(), config=config, run_date=run.day)
    impressions = run.read_nonempty(C.IMPRESSIONS) if config.train.learn_from == "impressions" else None
    until = counted_until(run.day, VALIDATION, config)
    work = run.work_folder()
    with run.stage("examples") as stage:
        parts = split(night, config).persist()
        learning = parts.filter(F.col(PART) == TRAIN)
        longest = config.candidates.covisitation_events
        rows = user_rows(night, learning, config, liked=longest, until=until).persist()
        judges = add_targets(rows, parts.filter(F.col(PART) == VALIDATION)).persist()
        stage.counts = {row[PART]: row["count"] for row in parts.groupBy(PART).count().orderBy(PART).collect()}
        stage.rows_in, stage.rows_out = sum(stage.counts.values()), stage.counts.get(TRAIN, 0)
    with run.stage("catalogue") as stage:
        version = save_encoder(work / "base", scorer, tokens)
        base = ship_folder(spark, work / "base", f"base-{run.run_id}", work)
        vectors, stage.counts = ensure_vectors(spark, cache, night.items, base, version)
        wanted = relations_needed(config)
        before = build_catalogue(night, learning, rows, vectors, config, work / "before", until, relations=wanted)
        stage.rows_out = len(before)
    with run.stage("fine-tuning") as stage:
        outcome = checkpoints = None
        if isinstance(scorer, Scorer):
            chosen = choose_examples(parts, rows, impressions, night.items, until, config).persist()
            checkpoints = Path(config.work, f"training-{training_key(version, chosen, parts, night, config)}")
            set_up_torch(os.cpu_count() or 1)
            scorer.to(pick_device())
            with training_bar() as report:
                outcome = train_scorer(scorer, tokens, before, chosen, judges, config, report, work, checkpoints)
            chosen.unpersist()
            return_memory()
        stage.counts = {"steps": outcome.steps if outcome else 0}
    with run.stage("ranker") as stage:
        version = save_encoder(work / "model", scorer.cpu(), tokens)
        model = ship_folder(spark, work / "model", f"model-{run.run_id}", work)
        vectors, encoded = ensure_vectors(spark, cache, night.items, model, version)
        after = build_catalogue(night, learning, rows, vectors, config, work / "after", until) if outcome else before
        add_sequential(work / "model", train_sequential(after, rows, config))
        model = ship_folder(spark, work / "model", f"ranked-{run.run_id}", work)
        catalogue = ship_folder(spark, work / ("after" if outcome else "before"), f"catalogue-{run.run_id}", work)
        with spark_progress(spark, "scoring validation users", config.score.partitions):
            rankers = train_ranker(judges, night_parts(model, catalogue, config, run.day), config)
        stage.counts = {"encoded": encoded["encoded"], "pairs": int(rankers.fitted["pairs"])}
    with run.stage("model") as stage:
        tuning = {} if outcome is None else {
            "validation_ndcg@10": outcome.ndcg,
            "validation_ndcg@10_before_fine_tuning": outcome.ndcg_before,
            "training_losses": outcome.losses,
            "parameters": {"learning": outcome.learning, "all": outcome.parameters},
        }  # fmt: skip
        metrics = {
            **tuning,
            "ranker": rankers.fitted,
            "importance": rankers.ranker.importance(),
        }
        facts = {**origin(learning, config, run.day), "metrics": metrics}
        info = finish_model(work / "model", rankers.ranker, facts, rankers.ablations)
        load_encoder(work / "model")
        replace_folder(work / "model", Path(config.model))
        if checkpoints:
            shutil.rmtree(checkpoints)
        run.model_version = info.version
    print(f"model {info.version} written to {config.model}")
    if outcome:
        print(
            f"pair scorer: NDCG@10 on validation candidates {outcome.ndcg_before:.4f} before fine-tuning, "
            f"{outcome.ndcg:.4f} after {outcome.steps} steps; "
            f"{outcome.learning:,} of {outcome.parameters:,} parameters learned"
        )


if __name__ == "__main__":
    sys.exit(run_job("train", main, description=__doc__, needs_run_date=True))
