"""How good the lists are: metrics of all systems on the same held-out likes, with their uncertainty."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from llmrec import columns as C
from llmrec.domain.metrics import (
    bootstrap_interval,
    coverage,
    diversity,
    expected_calibration_error,
    novelty,
    paired_bootstrap,
    user_metrics,
)
from llmrec.errors import ArtifactError, InputTableError
from llmrec.nn.ablations import ABLATIONS
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.judging import BINS, LLMREC, SYSTEMS
from llmrec.settings.config import Config

BASELINES = (C.POPULARITY, C.COVISITATION, C.EASE)
COMPARED = (*BASELINES, *(one.name for one in ABLATIONS))
"""What llmrec is compared with: other systems, and itself without some of its signals."""
NEW_USERS, NEW_ITEMS = "new users", "new items"


@dataclass(frozen=True)
class Metric:
    """One row of the table ``metrics``."""

    system: str
    metric: str
    value: float
    segment: str = "all"
    k: int | None = None
    low: float | None = None
    high: float | None = None
    users: int | None = None


def require_unseen_holdout(manifest: dict[str, object], config: Config, run_date: date) -> None:
    """Raise ArtifactError if the model may have learned from the events it would be judged by."""
    trained_for = str(manifest.get("run_date"))
    for name, now in (("holdout", config.holdout), ("liking", config.liking)):
        if (then := manifest.get(name)) != now.model_dump(mode="json"):
            raise ArtifactError(
                f"{config.model}: the model was trained with {name} {then}, the configuration says "
                f"{now.model_dump(mode='json')}; expected the same, or it is judged by events it learned from"
            )
    # By last events a later date may hold out from users of whom all was learned; periods of time only move on.
    same_date = config.holdout.by == "last_events"
    if trained_for > run_date.isoformat() or (same_date and trained_for != run_date.isoformat()):
        raise ArtifactError(
            f"{config.model}: the model was trained for run date {trained_for}, expected "
            f"{'' if same_date else 'at most '}{run_date}, or it is judged by events it learned from"
        )


def measure(judged: pd.DataFrame, catalogue: Catalogue, importance: dict[str, float], config: Config) -> list[Metric]:
    """Turn what `spark.workers.judge` gave for each user into all metrics.

    Raises InputTableError if there is no user to judge by.
    """
    if judged.empty:
        raise InputTableError(
            f"{config.tables.name(C.EVENTS)}: no user has held-out liked items not seen before "
            f"(holdout: {config.holdout.model_dump()}); expected some"
        )
    judged = judged.sort_values(C.USER)  # the bootstrap draws places, so their order must not change
    ks = sorted(config.evaluate.k)
    targets = [set(row.tolist()) for row in judged["targets"]]
    every = {system: [_of_system(row, system)["items"].tolist() for row in judged["lists"]] for system in SYSTEMS}
    lists = {system: own for system, own in every.items() if any(own)}  # not those that are switched off
    rows: list[Metric] = []
    ndcg: dict[tuple[str, int], npt.NDArray[np.float64]] = {}
    for system, own in lists.items():
        figures = [user_metrics(ranked, wanted, ks) for ranked, wanted in zip(own, targets, strict=True)]
        for name, k in figures[0]:
            values = np.array([of_user[name, k] for of_user in figures])
            rows.append(_with_interval(system, name, k, values, config))
            if name == "NDCG":
                ndcg[system, k] = values
        areas = [_of_system(row, system)["auc"] for row in judged["lists"]]
        known = np.array([area for area in areas if area is not None and not np.isnan(area)], np.float64)
        if len(known):
            rows.append(_with_interval(system, "AUC", None, known, config))
        rows += _beyond_accuracy(system, own, catalogue, ks)
    rows += _differences(ndcg, ks, config)
    rows += _cold_start(judged, lists, targets, catalogue, config)
    rows += _recall(judged)
    rows += _calibration(judged)
    rows += [Metric(LLMREC, "importance", share, segment=name) for name, share in importance.items()]
    return rows


def _of_system(lists: Sequence[dict[str, object]], system: str):  # type: ignore[no-untyped-def]
    return next(entry for entry in lists if entry["system"] == system)


def _with_interval(system: str, name: str, k: int | None, values: npt.NDArray[np.float64], config: Config) -> Metric:
    mean, low, high = bootstrap_interval(values, config.evaluate.bootstrap, config.train.seed)
    return Metric(system, name, mean, k=k, low=low, high=high, users=len(values))


def _beyond_accuracy(system: str, lists: list[list[int]], catalogue: Catalogue, ks: list[int]) -> Iterator[Metric]:
    share = catalogue.taken / max(1, int(catalogue.taken.sum()))
    known = {item: float(share[item]) for item in np.flatnonzero(share)}
    unseen = 1.0 / max(1, int(catalogue.taken.sum()))
    for k in ks:
        cut = [ranked[:k] for ranked in lists]
        yield Metric(system, "coverage", coverage(cut, int(catalogue.available.sum())), k=k)
        yield Metric(system, "novelty", float(np.mean([novelty(ranked, known, unseen) for ranked in cut])), k=k)
        spread = [diversity(catalogue.vectors[ranked]) for ranked in cut if len(ranked) > 1]
        yield Metric(system, "diversity", float(np.mean([s for s in spread if s is not None] or [0.0])), k=k)


def _differences(
    ndcg: dict[tuple[str, int], npt.NDArray[np.float64]], ks: list[int], config: Config
) -> Iterator[Metric]:
    for baseline in COMPARED:
        for k in ks:
            ours, theirs = ndcg[LLMREC, k], ndcg.get((baseline, k))
            if theirs is None:
                continue
            gain, low, high, p = paired_bootstrap(ours, theirs, config.evaluate.bootstrap, config.train.seed)
            yield Metric(baseline, "NDCG difference", gain, k=k, low=low, high=high, users=len(ours))
            yield Metric(baseline, "NDCG p-value", p, k=k, users=len(ours))


def _cold_start(
    judged: pd.DataFrame,
    lists: dict[str, list[list[int]]],
    targets: list[set[int]],
    catalogue: Catalogue,
    config: Config,
) -> Iterator[Metric]:
    """Judge users without history apart, and the targets on which there was no event before."""
    new_items = [{item for item in wanted if not catalogue.taken[item]} for wanted in targets]
    new_users = [wanted if new else set() for wanted, new in zip(targets, judged["new_user"], strict=True)]
    for segment, asked in ((NEW_USERS, new_users), (NEW_ITEMS, new_items)):
        chosen = [place for place, wanted in enumerate(asked) if wanted]
        for system, k in itertools.product(lists if chosen else (), sorted(config.evaluate.k)):
            figures = [user_metrics(lists[system][place], asked[place], [k]) for place in chosen]
            for name in ("NDCG", "HR"):
                values = np.array([of_user[name, k] for of_user in figures])
                yield replace(_with_interval(system, name, k, values, config), segment=segment)


def _recall(judged: pd.DataFrame) -> Iterator[Metric]:
    found = pd.DataFrame([{entry["source"]: entry["recall"] for entry in row} for row in judged["found"]])
    for source in found.columns:
        yield Metric(LLMREC, "candidate recall", float(found[source].mean()), segment=source, users=len(found))


def _calibration(judged: pd.DataFrame) -> Iterator[Metric]:
    pairs, predicted, liked = (np.stack(judged[name].to_list()).sum(axis=0) for name in ("pairs", "predicted", "liked"))
    for place in range(BINS):
        if pairs[place]:
            segment, count = f"bin {place:02d}", int(pairs[place])
            yield Metric(LLMREC, "calibration predicted", predicted[place] / count, segment=segment, users=count)
            yield Metric(LLMREC, "calibration observed", liked[place] / count, segment=segment, users=count)
    yield Metric(LLMREC, "calibration error", expected_calibration_error(predicted, liked, pairs))
