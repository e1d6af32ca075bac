"""Fine-tunes the encoder and the pair scorer on events before a cut-off, then the ranker, and publishes the model.

    spark-submit jobs/train.py --config conf/demo.yaml --run-date 1998-04-23
    spark-submit jobs/train.py --config conf/demo.yaml --run-date 1998-04-30 --from champion --since 1998-04-23
    python jobs/train.py --config conf/demo.yaml --rollback
    spark-submit jobs/train.py --config conf/demo.yaml --run-date 1998-04-23 --export int8 layers=4 --export-to small

The second goes on from the present champion with what is new; the third goes back to the one before it; the fourth
makes a smaller model of it.
"""

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame
from rich.console import Console
from rich.table import Table

from llmrec import columns as C
from llmrec.cli import Job, Run
from llmrec.errors import ConfigError
from llmrec.export import before_spark, export_model
from llmrec.models import open_champion, publish_model, require_place
from llmrec.nn.artifact import ModelInfo, add_sequential, finish_model, load_encoder, save_encoder
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.content import ContentScorer
from llmrec.nn.device import pick_device, return_memory, set_up_torch
from llmrec.nn.panel import Panel
from llmrec.nn.plan import Outcome
from llmrec.nn.pretrained import load_tokens
from llmrec.nn.scorer import Scorer
from llmrec.nn.tokens import TextLimits, Tokens
from llmrec.nn.unread import Unread
from llmrec.pipelines.augment import Augmentation, open_rewriter, ship_augmentation
from llmrec.pipelines.examples import choose_examples
from llmrec.pipelines.gate import Standing, compare, judge_lists, judge_pairs, trained_as
from llmrec.pipelines.holdout import hold_out_validation
from llmrec.pipelines.judges import stopping_panel, stopping_users
from llmrec.pipelines.night import (
    Night,
    build_catalogue,
    counts_needed,
    night_parts,
    open_night,
    reread_catalogue,
    with_texts_of,
)
from llmrec.pipelines.rankers import train_ranker
from llmrec.pipelines.teacher import open_teacher, prepare_teacher
from llmrec.pipelines.training import continue_scorer, open_scorer, origin, train_scorer, train_sequential, training_key
from llmrec.progress import spark_progress, training_bar
from llmrec.spark.shipping import ship_folder
from llmrec.spark.splits import PART, TRAIN
from llmrec.spark.vector_cache import ensure_vectors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what train alone is asked."""
    parser.add_argument(
        "--from", dest="start", choices=["champion"], help="go on from it instead of from the pretrained encoder"
    )
    parser.add_argument(
        "--since", type=date.fromisoformat, metavar="YYYY-MM-DD", help="with --from: learn from what is new since then"
    )
    parser.add_argument("--rollback", action="store_true", help="go back to the champion before, and stop")
    parser.add_argument(
        "--export", nargs="+", metavar="OPTION", help="make the model smaller instead: int8, layers=N, heads=N"
    )
    parser.add_argument("--export-to", type=Path, metavar="FOLDER", help="with --export: where it goes")


def main(run: Run) -> None:
    """Read tables, fine-tune, fit the ranker, compare, publish; or export."""
    if run.args.export:
        export_model(run)
        return
    require_place(run.config)
    champion, teacher = open_champion(run), open_teacher(run.config)
    scorer, tokens = _open(run, champion)
    config, spark, cache = run.config, run.spark, run.table(C.ITEM_VECTORS)
    rewriter = open_rewriter(config, tokens)
    night = open_night(**run.read_night(), config=config, run_date=run.day)
    impressions = run.read_nonempty(C.IMPRESSIONS) if config.train.learn_from == "impressions" else None
    since, work = run.args.since, run.work_folder()
    with run.stage("examples") as stage:
        held = hold_out_validation(night, config)
        parts, learning, until, rows, judges = held.parts, held.learning, held.until, held.rows, held.judges
        panel = stopping_panel(stopping_users(judges, config))
        stage.counts = {row[PART]: row["count"] for row in parts.groupBy(PART).count().orderBy(PART).collect()}
        stage.rows_in, stage.rows_out = sum(stage.counts.values()), stage.counts.get(TRAIN, 0)
    with run.stage("catalogue") as stage:
        version = save_encoder(work / "base", scorer, tokens)
        base = ship_folder(spark, work / "base", f"base-{run.run_id}", work)
        vectors, stage.counts = ensure_vectors(spark, cache, night.items, base, version)
        needed = counts_needed(config)
        before = build_catalogue(night, learning, rows, vectors, config, work / "before", until, wanted=needed)
        stage.rows_out = len(before)
    with run.stage("fine-tuning") as stage:
        outcome = checkpoints = None
        if isinstance(scorer, ContentScorer):
            print("train: scorer content learns nothing, so fine-tuning is left out and the encoder stays as it was")
        elif isinstance(scorer, Scorer):
            chosen = choose_examples(parts, rows, impressions, night, until, config, since).persist()
            added = ship_augmentation(spark, rewriter, night.items, config, f"rewriter-{run.run_id}", work)
            key = training_key(version, teacher, chosen, parts, night, added, config)
            checkpoints = Path(config.work, f"training-{key}")
            if teacher:
                prepare_teacher(teacher, night.items, work / "teacher")
            outcome = _fine_tune(run, scorer, tokens, before, chosen, panel, checkpoints, added)
            chosen.unpersist()
        stage.counts = {"steps": outcome.steps if outcome else 0}
    with run.stage("ranker") as stage:
        version = save_encoder(work / "model", scorer.cpu(), tokens)
        model = ship_folder(spark, work / "model", f"model-{run.run_id}", work)
        vectors, encoded = ensure_vectors(spark, cache, night.items, model, version)
        after = reread_catalogue(night, work / "before", vectors, config, work / "after")
        add_sequential(work / "model", train_sequential(after, rows, config))
        model = ship_folder(spark, work / "model", f"ranked-{run.run_id}", work)
        catalogue = ship_folder(spark, work / "after", f"catalogue-{run.run_id}", work)
        with spark_progress(spark, "scoring validation users", config.score.partitions):
            rankers = train_ranker(judges, night_parts(model, catalogue, config, run.day), config)
        stage.counts = {"encoded": encoded["encoded"], "pairs": int(rankers.fitted["pairs"])}
    with run.stage("model") as stage:
        tuning = {} if outcome is None else {
            "validation_ndcg@10": outcome.ndcg,
            "validation_ndcg@10_before_fine_tuning": outcome.ndcg_before,
            "training_losses": outcome.losses,
            "parameters": {"learning": outcome.learning, "all": outcome.parameters},
            **({"positions": outcome.positions} if outcome.positions else {}),
        }  # fmt: skip
        metrics = {
            **tuning,
            "ranker": rankers.fitted,
            "importance": rankers.ranker.importance(),
        }
        facts = {**origin(learning, config, run.day), "tables": run.table_versions, "metrics": metrics}
        if run.args.start and champion:
            facts["goes_on_from"] = {"version": champion.version, "since": since}
        info = finish_model(work / "model", rankers.ranker, facts, rankers.ablations)
        load_encoder(work / "model")
        run.model_version = info.version
    with run.stage("comparison") as stage:
        standings = _judge_all(run, night, judges, panel, info, champion)
        return_memory()
        stage.counts = {"models": len(standings), "users": len(panel.users)}
    with run.stage("publish"):
        said = publish_model(run, info, standings, champion)
        if checkpoints:
            shutil.rmtree(checkpoints)
    _print(list(standings.values()), len(panel.users), config.train.seed)
    run.say(said)
    if outcome:
        print(f"{outcome.learning:,} of {outcome.parameters:,} parameters learned in {outcome.steps} steps")
        if outcome.positions:
            odds = ", ".join(f"{math.exp(one):.2f}" for one in outcome.positions)
            print(f"odds of a click by position, against the first: {odds}")


def _open(run: Run, champion: ModelInfo | None) -> tuple[Scorer | Unread, Tokens]:
    """Open what learning starts from, and its tokenizer; raises ConfigError if it is not to be had."""
    config = run.config
    if run.args.start:
        if champion is None:
            raise ConfigError(
                f"--from champion: {config.model} is a folder or has none yet, expected one in the registry; "
                "train without it first"
            )
        run.config = with_texts_of(champion.manifest, config)
        return continue_scorer(champion, run.config)
    if run.args.since:
        raise ConfigError("--since: goes with --from champion, expected both or neither")
    limits = TextLimits(**config.texts.model_dump(include={field.name for field in fields(TextLimits)}))
    return open_scorer(config), load_tokens(config.encoder.path, limits, config.encoder.allow_download)


def _fine_tune(
    run: Run,
    scorer: Scorer,
    tokens: Tokens,
    before: Catalogue,
    chosen: DataFrame,
    panel: Panel,
    checkpoints: Path,
    added: Augmentation | None,
) -> Outcome:
    """Fine-tune on the device, and show how it goes."""
    set_up_torch()
    scorer.to(pick_device())
    with training_bar() as report:
        return train_scorer(
            scorer, tokens, before, chosen, panel, run.config, report, run.work_folder(), checkpoints, added
        )


def _judge_all(
    run: Run, night: Night, judges: DataFrame, panel: Panel, new: ModelInfo, champion: ModelInfo | None
) -> dict[str, Standing]:
    """Judge the encoder before fine-tuning, the champion if there is one, and the new model, by the same users."""
    work, config, spark = run.work_folder(), run.config, run.spark
    before, after = work / "before", work / "after"
    found = {"before": Standing("before fine-tuning", judge_pairs(panel, work / "base", before))}
    models = {"champion": (champion, work / "champion"), "new": (new, after)}
    for name, (model, shelves) in models.items():
        if model is None:
            continue
        shipped = ship_folder(spark, model.folder, f"{name}-{run.run_id}", work)
        if not shelves.exists():
            vectors, _ = ensure_vectors(spark, run.table(C.ITEM_VECTORS), night.items, shipped, model.encoder_version)
            reread_catalogue(night, before, vectors, config, shelves)
        catalogue = ship_folder(spark, shelves, f"{name}-catalogue-{run.run_id}", work)
        parts = night_parts(shipped, catalogue, trained_as(model.manifest, config), run.day)
        lists = judge_lists(stopping_users(judges, config), parts, config.score.partitions)
        found[name] = Standing(f"{name} {model.version}", judge_pairs(panel, model.folder, shelves), lists)
    return found


def _print(standings: Sequence[Standing], users: int, seed: int) -> None:
    """Print the figures of all models, and how sure the differences to the last one are."""
    *others, new = standings
    table = Table(title=f"{users:,} validation users, the same for all")
    table.add_column("model", no_wrap=True)
    for name in new.means():
        table.add_column(name, justify="right")
    for standing in standings:
        means = standing.means()
        table.add_row(standing.name, *(f"{means[name]:.4f}" if name in means else "" for name in new.means()))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for found in filter(None, (compare(new, other, seed) for other in others)):
        console.print(found.said(), highlight=False)


JOB = Job("train", main, __doc__, arguments=add_arguments, instead=before_spark)

if __name__ == "__main__":
    sys.exit(JOB.run())
