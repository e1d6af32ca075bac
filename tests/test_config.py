from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from llmrec import columns as C
from llmrec import config as config_module
from llmrec.config import documented_yaml, load_config
from llmrec.domain.features import FEATURE_ALONE
from llmrec.errors import ConfigError
from llmrec.settings.config import Config
from llmrec.settings.training import Train

CONF = Path(__file__).parents[1] / "conf"


def load(folder: Path, text: str, overrides: Sequence[str] = ()) -> Config:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides)


def test_the_default_file_is_the_one_that_the_code_writes(capsys: pytest.CaptureFixture[str]) -> None:
    config_module.main()
    assert (CONF / "default.yaml").read_text(encoding="utf-8") == capsys.readouterr().out


def test_the_default_file_says_what_no_file_means() -> None:
    assert load_config(CONF / "default.yaml") == load_config(None) == Config()


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_of_conf_loads(path: Path) -> None:
    assert isinstance(load_config(path), Config)


def test_settings_printed_load_as_the_same_settings(tmp_path: Path) -> None:
    demo = load_config(CONF / "demo.yaml")
    assert load(tmp_path, documented_yaml(demo)) == demo


def test_every_setting_has_a_meaning() -> None:
    lines = documented_yaml(Config()).splitlines()
    bare = [
        line
        for above, line in pairwise(lines)
        if ": " in line and not line.lstrip().startswith("#") and not above.lstrip().startswith("#")
    ]
    assert [line.split(":")[0].strip() for line in bare] == ["events", "items", "users", "impressions"]


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == load(tmp_path, "# nothing yet\n") == Config()


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    text = """
        score: {top_n: 0, topn: 3, scene: [1]}
        trian: {seed: 2}
        texts: {max_user_tokens: 999}
        sources: {events: {path: a, format: xls, columns: {}}}
        evaluate: {k: []}
    """
    with pytest.raises(ConfigError, match=r"settings.yaml: 7 wrong setting\(s\)") as caught:
        load(tmp_path, text)
    lines = str(caught.value).splitlines()[1:]
    assert sorted(line.split(":")[0].strip() for line in lines) == [
        "evaluate.k", "score.scene", "score.top_n", "score.topn", "sources.events.format", "texts.max_user_tokens",
        "trian",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("score: {top_m: 3}", r"score\.top_m: no such setting"),
        ("trian: 1", r"trian: no such setting"),
        ("score: {top_n: many}", r"score\.top_n: Input should be a valid integer.*, found 'many'"),
        ("score: {top_n: 1.5}", r"score\.top_n: .*, found 1\.5"),
        ("score: 3", r"score: Input should be a valid dictionary.*, found 3"),
        ("model: 2024", r"model: Input should be a valid string, found 2024"),
        ("texts: {max_item_tokens: 7}", r"texts\.max_item_tokens: .*greater than or equal to 8, found 7"),
        ("texts: {max_item_tokens: 513}", r"texts\.max_item_tokens: .*less than or equal to 512, found 513"),
        ("train: {learning_rate: 0}", r"train\.learning_rate: .*greater than 0, found 0"),
        ("train: {max_minutes: .nan}", r"train\.max_minutes: .*greater than 0, found nan"),
        ("candidates: {dense: -1}", r"candidates\.dense: .*greater than or equal to 0, found -1"),
        ("holdout: {by: users}", r"holdout\.by: Input should be 'time' or 'last_events', found 'users'"),
        ("prepare: {earliest_event: soon}", r"prepare\.earliest_event: .*date.*, found 'soon'"),
        ("spark: {spark.cores.max: 2}", r"spark\.spark\.cores\.max: Input should be a valid string, found 2"),
        ("1: 2", r"1: no such setting"),
        (
            "texts: {item_template: ['{tittle}']}",
            r"texts\.item_template: .*names {tittle}, expected one of {title}, {cat",
        ),
        ("texts: {item_template: ['{profile}']}", r"texts\.item_template: .*names {profile}, expected one of {title}"),
        ("texts: {item_template: []}", r"texts\.item_template: .*at least 1 item"),
        ("texts: {user_template: ['{attributes}']}", r"texts\.user_template: .*expected one of .*{attributes\[NAME\]}"),
        ("texts: {user_template: ['{scene[x]}']}", r"texts\.user_template: .*names {scene\[x\]}"),
        ("texts: {user_template: ['of {scene']}", r"texts\.user_template: .*'of {scene' cannot be read"),
        ("texts: {user_template: ['{scene:>9}']}", r"texts\.user_template: .*formats {scene}, expected the name alone"),
        ("texts: {user_template: [' ']}", r"texts\.user_template: .*is blank"),
        ("texts: {max_user_tokens: 20, words_tokens: 7}", r"texts: .*up to 21 word pieces.*max_user_tokens is 20"),
        (
            "texts: {user_template: ['{scene}']}\ntrain: {learn_from: impressions, objectives: {bce: 1}}",
            r": .*names {scene}, which impressions do not have",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_what_was_found_and_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"settings.yaml: 1 wrong setting\(s\)\n  {message}"):
        load(tmp_path, text)


def test_overrides_win_over_the_file_and_are_read_as_yaml(tmp_path: Path) -> None:
    text = "score: {top_n: 5, scene: home}\nliking: {events: [buy], min_value: 2}"
    config = load(
        tmp_path,
        text,
        [
            "score.top_n=7", "liking.events=[click,buy]", "liking.min_value=null", "encoder.allow_download=true",
            "prepare.earliest_event=2001-02-03", "tables.names.events=silver.events", "spark[spark.master]=local[2]",
            "model=s3://bucket/model=best",
        ],
    )  # fmt: skip
    assert (config.score.top_n, config.score.scene) == (7, "home")
    assert config.liking.events == ["click", "buy"]
    assert config.liking.min_value is None
    assert config.encoder.allow_download is True
    assert config.prepare.earliest_event == date(2001, 2, 3)
    assert config.tables.name(C.EVENTS) == "silver.events"
    assert config.spark == {"spark.master": "local[2]"}
    assert config.model == "s3://bucket/model=best"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("score.topn=3", r"settings: 1 wrong setting\(s\)\n  score\.topn: no such setting"),
        ("score.top_n", r"score\.top_n: .*, found None"),
        ("score.top_n=ten", r"score\.top_n: .*, found 'ten'"),
        ("liking.events=[a", r"settings: .*"),
    ],
)
def test_wrong_overrides_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\tmodel: x", "model: !!python/object/apply:os.getcwd []"])
def test_bad_yaml_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"settings.yaml: .*line 1"):
        load(tmp_path, text)


@pytest.mark.parametrize(("text", "kind"), [("- a", "list"), ("model", "str"), ("3", "int")])
def test_yaml_that_is_no_mapping_is_refused(tmp_path: Path, text: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"settings.yaml: holds a {kind}, expected a mapping of settings"):
        load(tmp_path, text)


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read as a configuration file .*No such file"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read as a configuration file .*directory"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("model: Modèle".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin.yaml: cannot be read as a configuration file .*expected a YAML file"):
        load_config(tmp_path / "latin.yaml")


def test_a_reference_to_no_setting_is_refused(tmp_path: Path) -> None:
    assert load(tmp_path, "model: ${tables.location}/model\ntables: {location: lake}").model == "lake/model"
    with pytest.raises(ConfigError, match=r"settings.yaml: .*'nope' not found"):
        load(tmp_path, "model: ${nope}")


def test_a_date_needs_no_quotes(tmp_path: Path) -> None:
    assert load(tmp_path, "prepare: {earliest_event: 2000-01-31}").prepare.earliest_event == date(2000, 1, 31)


def test_a_name_for_an_unknown_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tables.names: no table is called event, user; there are .*'events'"):
        load(tmp_path, "tables: {names: {user: a, event: b, items: c}}")


def test_tables_are_where_their_location_or_their_own_name_says(tmp_path: Path) -> None:
    tables = load(tmp_path, "tables: {location: /data/lake, names: {items: silver.items}}").tables
    assert tables.name(C.EVENTS) == "/data/lake/events"
    assert tables.name(C.ITEMS) == "silver.items"


def test_the_fingerprint_follows_every_setting_and_nothing_else(tmp_path: Path) -> None:
    changes = ["score.top_n=11", "train.seed=2", "liking.min_value=3", "spark[a]=b", "holdout.by=last_events"]
    shas = {load_config(None, [change]).sha for change in changes}
    assert len(shas) == len(changes)
    assert Config().sha not in shas
    assert load(tmp_path, "score:\n  top_n: 10 # as by default").sha == Config().sha
    assert len(Config().sha) == 12


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("registry: {uri: 'http://night:s3cret@models'}", "registry.uri"),
        ("registry: {uri: 'https://s3cret@models'}", "registry.uri"),
        ("spark: {spark.hadoop.fs.s3a.secret.key: s3cret}", "spark.spark.hadoop.fs.s3a.secret.key"),
        ("spark: {fs.azure.account.key.me.dfs.core.net: s3cret}", "spark.fs.azure.account.key.me.dfs.core.net"),
        ("spark: {spark.authenticate.secret: s3cret}", "spark.spark.authenticate.secret"),
        ("tables: {names: {events: 's3a://id:s3cret@bucket/events'}}", "tables.names.events"),
    ],
)
def test_a_password_written_into_settings_is_refused_without_repeating_it(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: holds a secret, expected the variable") as refused:
        load(tmp_path, text)
    assert "s3cret" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"registry\.uri: holds a secret"):
        load_config(None, ["registry.uri=http://night:s3cret@models"])


@pytest.mark.parametrize(
    "text",
    ["registry: {uri: 'postgresql://night:s3cret@db/mlflow\n  margin: 2", "registry: 'http://night:s3cret@models' x",
     "registry: {uri: 'http://night:${oc.env:PASSWORD}@models', margin: 2}\ntexts: {user_template: ['{scene}']}\n"
     "train: {learn_from: impressions, objectives: {bce: 1}}",
     "registry: {uri: ['http://night:${oc.env:PASSWORD}@models']}", "registry: 'http://night:${oc.env:PASSWORD}@models'",
     "registry: {uri: 'http://night:${oc.env:PASSWORD}@models'}\ntexts: {user_template: ['{scene}']}\n"
     "train: {learn_from: impressions, objectives: {bce: 1}}"],
)  # fmt: skip
def test_no_message_on_wrong_settings_repeats_a_password(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "s3cret")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert "s3cret" not in str(refused.value)


def test_passwords_by_variable_are_used_but_neither_shown_nor_part_of_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        registry: {uri: "http://night:${oc.env:PASSWORD}@models"}
        spark: {spark.hadoop.fs.s3a.secret.key: "${oc.env:PASSWORD}", spark.ssl.trustStorePassword: /run/mounted}
        tables: {location: "abfss://container@account.dfs/lake"}
    """
    shas = set()
    for password in ("s3cret", "an0ther"):
        monkeypatch.setenv("PASSWORD", password)
        config = load(tmp_path, text)
        assert config.registry.uri == f"http://night:{password}@models"
        assert password not in documented_yaml(config.shown())
        assert config.shown().registry.uri == "http://***@models"
        assert config.shown().tables == config.tables
        shas.add(config.sha)
    assert len(shas) == 1


def test_settings_do_not_change_after_reading() -> None:
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.model = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.score.top_n = 3  # type: ignore[misc]


def test_every_ranker_by_one_feature_can_be_asked_for_and_says_whether_it_needs_an_encoder() -> None:
    assert set(get_args(Train.model_fields["ranker"].annotation)) == {"hybrid", *FEATURE_ALONE}
    scorers = {ranker: Config(train=Train(ranker=ranker)).scorer for ranker in ("hybrid", *FEATURE_ALONE)}
    assert {ranker for ranker, scorer in scorers.items() if scorer == "prefix"} == {
        "hybrid", "similar", "sequential", "dense", "bert",
    }  # fmt: skip
    assert Config(train=Train(scorer="none")).scorer == "none"


def test_a_ranker_without_its_candidates_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"settings: candidates\.als is 0, but train\.ranker als goes by it"):
        load_config(None, ["train.ranker=als"])
    assert load_config(None, ["train.ranker=als", "candidates.als=20"]).candidates.als == 20


@pytest.mark.parametrize(
    ("text", "says"),
    [("train: {objectives: {mse: 1}}", "objectives mse and mae need ratings: learn_from is likes, expected events"),
     ("train: {objectives: {bce: 1}}", "objective bce needs items that were not liked: learn_from is likes"),
     ("train: {objectives: {in-batch: 1}}", "expected one that teaches the prefix scorer to score pairs"),
     ("train: {objectives: {}}", "at least 1 item"),
     ("train: {negatives: 0}", "all examples likes: negatives is 0, expected more"),
     ("train: {position_bias: true}", "position_bias needs places: learn_from is likes, expected impressions"),
     ("train: {position_bias: true, learn_from: impressions, scorer: dot, objectives: {in-batch: 1}}",
      r"position_bias is of the scores of pairs: objectives are \['in-batch'\]"),
     ("train: {label_smoothing: 0.1}", "label_smoothing is of two-class and bce"),
     ("train: {r_drop: 1}", "dropout is 0, expected more"),
     ("train: {adversarial: 1}", "expected tuning full, frozen_layers 0 and frozen_embeddings false"),
     ("train: {objectives: {hinge: 1}}", "'listwise', 'bpr', 'two-class', 'bce', 'mse', 'mae', 'distill' or"),
     ("train: {objectives: {distill: 1}}", "distill needs a teacher: teacher is null, expected a model folder"),
     ("train: {teacher: t}", "teacher is t: objectives are .*'listwise'.*, expected distill among them"),
     ("train: {teacher: t, objectives: {distill: 1}, negatives: 0}", "negatives is 0, expected more"),
     ("train: {teacher: t, objectives: {distill: 1}, scorer: none}", "with scorer none and ranker hybrid no scorer is"),
     ("train: {teacher: t, objectives: {distill: 1}, scorer: content}", "with scorer content and ranker hybrid"),
     ("train: {teacher: t, objectives: {distill: 1}, ranker: next}", "and ranker next no scorer is trained"),
     ("train: {objectives: {bpr: 0}}", "greater than 0")],
)  # fmt: skip
def test_objectives_that_nothing_can_be_learned_for_are_refused_saying_why(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, text)


def test_objectives_of_a_file_replace_those_of_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "train: {objectives: {bpr: 2}}").train.objectives == {"bpr": 2.0}
    assert load(tmp_path, "train: {scorer: dot, objectives: {in-batch: 1}}").train.objectives == {"in-batch": 1.0}
