import pytest

from viewer.auth import safe_target
from viewer.csrf import is_valid


@pytest.mark.parametrize(
    ("expected", "given", "valid"),
    [
        ("abc", "abc", True),
        ("abc", "abd", False),
        ("abc", "äbc", False),
        ("abc", "", False),
        ("abc", None, False),
        ("", "", False),
        (None, "", False),
    ],
)
def test_token(expected, given, valid):
    assert is_valid(expected, given) is valid


@pytest.mark.parametrize("target", ["/", "/account/", "/doc/draft/draft-a/?page=2"])
def test_paths_on_this_site_are_safe(app, target):
    with app.test_request_context():
        assert safe_target(target) == target


@pytest.mark.parametrize(
    "target", ["", "account", "https://example.org/", "//example.org/", "/\\example.org", "/\t/example.org"]
)
def test_other_targets_lead_to_the_first_page(app, target):
    with app.test_request_context():
        assert safe_target(target) == "/"
