import pytest
from werkzeug.security import generate_password_hash

from viewer.auth import User
from viewer.documents import LONGEST_COMMENT, Document, comment_problem


@pytest.mark.parametrize(("revision", "full_name"), [(0, "draft-a-00"), (4, "draft-a-04"), (12, "draft-a-12")])
def test_full_name_has_two_digits(revision, full_name):
    document = Document(1, "draft-a", revision, "Title", "Author", "Abstract", "2026-01-17T09:30:00Z", 0)
    assert document.full_name == full_name


def test_user_has_only_their_password():
    user = User(1, "demo", "Demo", generate_password_hash("right", method="pbkdf2:sha256:1"))
    assert user.has_password("right")
    assert not user.has_password("wrong")
    assert not user.has_password("")


def test_exclamation_mark_matches_no_password():
    assert not User(2, "ines", "Ines", "!").has_password("!")


def test_comment_may_be_as_long_as_the_limit():
    assert comment_problem("x" * LONGEST_COMMENT) is None


@pytest.mark.parametrize(("body", "words"), [("", "Write something"), ("x" * (LONGEST_COMMENT + 1), "this has 2001")])
def test_comment_problem_says_what_to_do(body, words):
    assert words in comment_problem(body)
