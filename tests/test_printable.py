import pytest

from pinet_kedro.printable import printable, public


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@db.example:5432/ml", "postgresql://…@db.example:5432/ml"),
        ("postgresql://me:se@cr/et@db.example/ml", "postgresql://…@db.example/ml"),
        ("https://secret@tracking.example", "https://…@tracking.example"),
        ("postgresql://db.example/ml?user=me&password=secret&sslmode=require",
         "postgresql://db.example/ml?user=me&password=…&sslmode=require"),
        ("run --params=tracking.uri=mysql+pymysql://me:secret@host/ml --env=prod",
         "run --params=tracking.uri=mysql+pymysql://…@host/ml --env=prod"),
        ("'http://me:secret@host' and 'http://me:secret@other'", "'http://…@host' and 'http://…@other'"),
    ],
)  # fmt: skip
def test_user_and_password_of_an_address_are_not_printed(address, shown):
    assert public(address) == printable(address) == shown


@pytest.mark.parametrize("text", ["models:/pinet@champion", "me@host.example", "see https://a.example, or b@c"])
def test_other_text_stays(text):
    assert public(text) == text
