import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pyspark.sql import SparkSession

from llmrec.nn.artifact import save_encoder
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.panel import Panel
from llmrec.nn.scorers import make_scorer
from llmrec.nn.teacher import write_teacher
from llmrec.nn.training import fine_tune
from llmrec.spark.together import learn_together
from tests import tiny
from tests.nn.planted_shop import cuts, likers, open_shop, plan, write_examples

ROOT = Path(__file__).parents[2]


def test_two_processes_learn_what_one_learns_from_batches_as_large(spark: SparkSession, tmp_path: Path) -> None:
    shop = open_shop(tmp_path / "shop")
    write_examples(tmp_path / "examples", cuts(likers(32, seed=1))[:90])  # the last batch is not full
    users = likers(8, seed=2, liked=5)
    targets = [set(range(9 * (n % 3), 9 * (n % 3) + 9)) - set(user.seen.tolist()) for n, user in enumerate(users)]
    panel = Panel(users, targets)
    save_encoder(tmp_path / "joint", make_scorer("joint", tiny.backbone(), cached_layers=1, seed=5), tiny.tokens())
    write_teacher(tmp_path / "teacher", tmp_path / "joint", shop.table["title"].to_pylist())
    objectives = {"listwise": 1.0, "in-batch": 1.0, "two-class": 0.5, "distill": 0.1}
    training = plan(
        objectives=objectives, max_epochs=2, validations=2, learning_rate=1e-3, teacher=tmp_path / "teacher"
    )
    judge = panel.judge(tiny.tokens(), shop)
    scorers, outcomes = [], []
    for name in ("alone", "together"):
        scorer = tiny.scorer(layers=2)
        save_encoder(tmp_path / name, scorer, tiny.tokens())
        if name == "together":
            learn_together(
                tmp_path / name, tmp_path / "shop", tmp_path / "examples", tmp_path / "checkpoints-together", training,
                panel, processes=2,
            )  # fmt: skip
            assert (tmp_path / "checkpoints-together" / "finished.safetensors").exists()
        outcomes.append(fine_tune(
            scorer, tiny.tokens(), Catalogue.load(tmp_path / "shop"), tmp_path / "examples", training, judge,
            lambda _: None, tmp_path / f"checkpoints-{name}",
        ))  # fmt: skip
        scorers.append(scorer)
    assert outcomes[1].losses == pytest.approx(outcomes[0].losses, rel=0.02)
    assert outcomes[1].steps == outcomes[0].steps
    assert outcomes[1].ndcg == pytest.approx(outcomes[0].ndcg, abs=0.05)
    assert outcomes[0].ndcg > outcomes[0].ndcg_before + 0.1
    moved, apart = (
        torch.cat([(one - other).flatten() for one, other in zip(*pair, strict=True)]).norm()
        for pair in (
            ([*scorers[0].parameters()], [*tiny.scorer(layers=2).parameters()]),
            ([*scorers[0].parameters()], [*scorers[1].parameters()]),
        )
    )
    assert apart < 0.2 * moved


ON_EXECUTORS = """
import sys
from pathlib import Path
from pyspark.sql import SparkSession
from llmrec.nn.panel import Panel
from llmrec.spark.together import learn_together
from tests import tiny
from tests.nn.planted_shop import likers, plan

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    settings = {"spark.ui.enabled": "false", "spark.executorEnv.PYTHONPATH": sys.argv[2]}
    builder = SparkSession.builder.master("local-cluster[2,1,1024]")
    spark = builder.config(map=settings).getOrCreate()
    users = likers(8, seed=2, liked=5)
    panel = Panel(users, [set(range(27)) - set(user.seen.tolist()) for user in users])
    names = ("base", "shop", "examples", "checkpoints")
    learn_together(*(folder / name for name in names), plan(max_epochs=1), panel, processes=2, on_executors=True)
    spark.stop()
"""


@pytest.mark.slow
def test_tasks_on_two_executors_learn_what_one_process_learns(tmp_path: Path) -> None:
    shop, scorer = open_shop(tmp_path / "shop"), tiny.scorer(layers=2)
    write_examples(tmp_path / "examples", cuts(likers(32, seed=1)))
    save_encoder(tmp_path / "base", scorer, tiny.tokens())
    (tmp_path / "learn.py").write_text(ON_EXECUTORS)
    command = [sys.executable, str(tmp_path / "learn.py"), str(tmp_path), str(ROOT)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    judge, alone = lambda _: 0.0, tiny.scorer(layers=2)
    arguments = (tiny.tokens(), shop, tmp_path / "examples", plan(max_epochs=1), judge, lambda _: None)
    taken_over = fine_tune(scorer, *arguments, tmp_path / "checkpoints")
    expected = fine_tune(alone, *arguments, tmp_path / "checkpoints-alone")
    assert taken_over.steps == expected.steps
    assert taken_over.losses == pytest.approx(expected.losses, rel=0.02)
