"""No text keeps a password, whatever it is made of."""

import pytest
from sqlalchemy.engine import make_url

from pipeline.config.schema.keeping import TrackingConfig
from pipeline.redact import has_secret, redact


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://user:pw@host:5000/x", "http://host:5000/x"),
        ("https://user:p@ss@host", "https://host"),
        ("//user:pw@host", "//host"),
        ("postgresql://u:p@db/mlflow?sslmode=require", "postgresql://db/mlflow?sslmode=require"),
        ("mysql://db/m?password=hunter2&x=1", "mysql://db/m?password=***&x=1"),
        ("mysql://db/m?password=hunt@er'2&x=1", "mysql://db/m?password=***&x=1"),
        ('["http://h?token=abc", 1]', '["http://h?token=***", 1]'),
        (
            "failed: http://token@host/a and http://u:v@other/b",
            "failed: http://host/a and http://other/b",
        ),
        # One text up to its white space: the first address goes with the second one's password.
        ("http://u:v@a,http://u:v@b", "http://b"),
        ("http://a/x,http://u:v@b", "http://a/x,http://b"),
    ],
)
def test_credentials_go(text, clean):
    assert redact(text) == clean
    assert has_secret(text)


@pytest.mark.parametrize("password", ["aB/3x9Q", "it's", 'a"b', "what?x", "a#b", "a:/b", "://"])
def test_what_a_database_takes_for_a_password_goes(password):
    uri = f"postgresql://mlflow:{password}@db:5432/mlflow"
    assert make_url(uri).password == password
    assert (
        redact(f"cannot open {uri}, see bob@x")
        == "cannot open postgresql://db:5432/mlflow, see bob@x"
    )
    with pytest.raises(ValueError, match="must hold no user"):
        TrackingConfig(uri=uri)


@pytest.mark.parametrize(
    "text",
    [
        "rand-m9-mstd0.5-inc1",
        "someone@example.org",
        "https://host/a@b/c",
        "https://host/x?mail=a@b",
        "s3://bucket/a@b:c",
        "sqlite:////data/me@x/a:b@c.db",
        "http://host:5000/x and me@host",
    ],
)
def test_a_path_keeps_its_at_sign(text):
    assert redact(text) == text
    assert not has_secret(text)
    TrackingConfig(uri=text)


def test_behind_a_port_a_path_with_an_at_sign_may_be_a_password():
    assert redact("https://host:8080/a@b/c") == "https://b/c"
