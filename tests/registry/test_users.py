"""The record of the users of a version: compact, without their ids, the same on every machine."""

import numpy as np

from pinet_kedro.registry.users import hash_users, read_users, save_users, share_known


def test_a_user_is_eight_bytes_whatever_the_order_and_without_the_id(tmp_path):
    ids = [f"user-{n}" for n in range(1000)]
    found = hash_users(ids)
    assert found.tolist() == sorted(set(hash_users(reversed(ids)).tolist()))
    save_users(found, tmp_path)
    (place,) = tmp_path.iterdir()
    assert place.stat().st_size < 8 * 1000 + 200
    assert b"user-" not in place.read_bytes()
    assert np.array_equal(read_users(tmp_path), found)
    # Pinned: a version that is registered today is compared with the users of years to come.
    assert hash_users(["7", "7", "ü"]).tolist() == [3976460501203677525, 9407870976149377255]


def test_a_version_without_a_record_has_none(tmp_path):
    assert read_users(tmp_path) is None


def test_the_share_of_users_that_are_known():
    champion, challenger = hash_users("abcd"), hash_users("cdefghi")
    assert share_known(champion, challenger) == 0.5
    assert share_known(champion, champion) == 1
    assert share_known(champion, None) is share_known(None, challenger) is None
