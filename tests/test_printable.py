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
        ("https://store.example/log.csv?X-Amz-Credential=me%2F1&X-Amz-Date=1&X-Amz-Signature=secret&part=2",
         "https://store.example/log.csv?X-Amz-Credential=…&X-Amz-Date=…&X-Amz-Signature=…&part=2"),
        ("https://store.example/log.csv?sv=1&sig=secret&api_key=secret&token=secret",
         "https://store.example/log.csv?sv=1&sig=…&api_key=…&token=…"),
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
