from llmrec.domain.secrets import Secrets


def test_a_password_is_hidden_wherever_it_stands_as_written_and_as_sent() -> None:
    secrets = Secrets.of({"registry": {"uri": "http://night:p%40ss-word@models"}, "spark": {"a.secret.key": "k3yk3y"}})
    said = secrets.hide("GET http://night:p%40ss-word@models: 401 for p@ss-word, p%40ss-word and k3yk3y")
    assert said == "GET http://***@models: 401 for ***, *** and ***"


def test_passwords_in_addresses_are_hidden_though_nobody_named_them() -> None:
    said = Secrets().hide("postgresql+psycopg://me:x@db:5432/mlflow and https://t0ken@hub/a, not user@host")
    assert said == "postgresql+psycopg://***@db:5432/mlflow and https://***@hub/a, not user@host"


def test_places_are_no_passwords() -> None:
    places = "abfss://container@account.dfs/lake s3a://bucket/a@b hdfs://name:8020/a@b"
    assert Secrets().hide(places) == places


def test_values_are_known_by_their_names_in_any_environment() -> None:
    variables = {"MLFLOW_TRACKING_PASSWORD": "one-one", "AWS_SECRET_ACCESS_KEY": "two-two", "HF_TOKEN": "three-3",
                 "HOME": "/home/me", "SHORT_TOKEN": "a"}  # fmt: skip
    assert Secrets.of([variables]).hide("one-one two-two three-3 /home/me a") == "*** *** *** /home/me a"
