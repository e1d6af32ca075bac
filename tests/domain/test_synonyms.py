from collections import Counter
from pathlib import Path

import pytest

from llmrec.domain.noise import draws
from llmrec.domain.synonyms import read_synonyms, replace_words
from llmrec.errors import InputTableError


def written(folder: Path, text: str) -> str:
    (folder / "synonyms.csv").write_text(text, encoding="utf-8")
    return str(folder / "synonyms.csv")


def test_a_list_is_read_by_word_whatever_its_case(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeffsynonym,word,note\nchai,Tea,\n"a brew, hot",tea,\nmug,cup,x\n')
    assert read_synonyms(path) == {"tea": ["chai", "a brew, hot"], "cup": ["mug"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "has the columns None, expected word and synonym"),
     ("word,other\na,b\n", r"has the columns \['word', 'other'\], expected word and synonym"),
     ("word,synonym\n", "holds no synonym, expected at least one"),
     ("word,synonym\ntea,chai\ncup\n", "line 3 has the word 'cup' and the synonym ''"),
     ("word,synonym\nred tea,chai\n", "line 2 has the word 'red tea' .*expected one word")],
)  # fmt: skip
def test_a_list_that_says_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputTableError, match=rf"train\.augment\.synonyms: .*synonyms\.csv: {message}"):
        read_synonyms(written(tmp_path, text))


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputTableError, match=r"none\.csv: cannot be read .*expected a CSV file"):
        read_synonyms(str(tmp_path / "none.csv"))


def test_words_with_synonyms_are_replaced_where_they_stand_and_no_others() -> None:
    synonyms = {"tea": ["chai"], "e-book": ["novel"]}
    assert replace_words("Tea (steaming), an e-book & tea.", synonyms, 1.0, draws(1)) == (
        "chai (steaming), an novel & chai."
    )
    assert replace_words("teapot", synonyms, 1.0, draws(1)) == "teapot"
    assert replace_words("tea", synonyms, 0.0, draws(1)) == "tea"


def test_each_synonym_comes_as_often_and_as_many_words_as_set_are_replaced() -> None:
    text = " ".join(["tea"] * 3000)
    found = Counter(replace_words(text, {"tea": ["chai", "brew"]}, 0.4, draws(1)).split())
    assert abs(found["tea"] - 1800) < 100
    assert abs(found["chai"] - found["brew"]) < 120
