import pytest

from llmrec.domain.secrets import Secrets, is_literal, without_secrets


def test_a_password_is_hidden_wherever_it_stands_as_written_and_as_sent() -> None:
    secrets = Secrets.of({"registry": {"uri": "http://night:p%40ss-word@models"}, "spark": {"a.secret.key": "k3yk3y"}})
    said = secrets.hide("GET http://night:p%40ss-word@models: 401 for p@ss-word, p%40ss-word and k3yk3y")
    assert said == "GET http://***@models: 401 for ***, *** and ***"


def test_passwords_in_addresses_are_hidden_though_nobody_named_them() -> None:
    said = Secrets().hide("postgresql+psycopg://me:x@db:5432/mlflow and https://t0ken@hub/a, not user@host")
    assert said == "postgresql+psycopg://***@db:5432/mlflow and https://***@hub/a, not user@host"


def test_signatures_and_passwords_in_queries_are_hidden_and_the_rest_of_the_query_stays() -> None:
    said = Secrets().hide(
        "wasbs://h/a?sv=2024&sig=aB%2f3&se=1 jdbc:postgresql://db/x?user=me&password=p4ss jdbc:sqlserver://h;password=x"
    )
    assert said == (
        "wasbs://h/a?sv=2024&sig=***&se=1 jdbc:postgresql://db/x?user=me&password=*** jdbc:sqlserver://h;password=***"
    )
    assert is_literal("path", "jdbc:postgresql://db/x?user=me&password=p4ss")
    assert not is_literal("path", "jdbc:postgresql://db/x?user=me&password=${oc.env:PASSWORD}")


@pytest.mark.parametrize(
    "name",
    [
        "fs.azure.sas.lake.account.blob.core.windows.net",
        "fs.azure.account.oauth2.client.secret.account.dfs.core.windows.net",
        "fs.gs.auth.service.account.private.key",
        "credentials", "SOME_API_KEY", "db.passwd", "AZURE_SAS",
    ],
)  # fmt: skip
def test_settings_that_hold_secrets_are_known_by_their_names(name: str) -> None:
    assert is_literal(name, "a-secret")
    assert without_secrets({name: "a-secret"}) == {name: "***"}
    assert Secrets.of({name: "a-secret"}).hide("it was a-secret") == "it was ***"


@pytest.mark.parametrize("name", ["PWD", "spark.master", "texts.user_tokens", "GEOATLAS", "spark.yarn.keytab"])
def test_other_settings_are_no_secrets(name: str) -> None:
    assert without_secrets({name: "a-word"}) == {name: "a-word"}


def test_places_are_no_passwords() -> None:
    places = "abfss://container@account.dfs/lake s3a://bucket/a@b hdfs://name:8020/a@b"
    assert Secrets().hide(places) == places


def test_values_are_known_by_their_names_in_any_environment() -> None:
    variables = {"MLFLOW_TRACKING_PASSWORD": "one-one", "AWS_SECRET_ACCESS_KEY": "two-two", "HF_TOKEN": "three-3",
                 "HOME": "/home/me", "SHORT_TOKEN": "a"}  # fmt: skip
    assert Secrets.of([variables]).hide("one-one two-two three-3 /home/me a") == "*** *** *** /home/me a"
