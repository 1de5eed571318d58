import pytest


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/", 200, "Welcome"),
        ("/doc/all/", 200, '<table id="docs">'),
        ("/doc/draft/draft-moss-idle-close/", 200, "draft-moss-idle-close-04"),
        ("/login/", 200, "Password"),
        ("/logout", 200, "You are not logged in"),
        ("/healthz", 200, "healthy"),
        ("/doc/draft/draft-nobody-wrote/", 404, "no document named draft-nobody-wrote"),
        ("/no/such/page/", 404, "Page not found"),
    ],
)
def test_route(client, path, status, words):
    answer = client.get(path)
    assert answer.status_code == status
    assert words in answer.text


def test_first_page_shows_the_three_latest(client):
    page = client.get("/").text
    assert page.count("<li>") == 3
    assert page.index("Closing Idle Connections") < page.index("Calm Retries") < page.index("Growing a Schema")


def test_every_document_has_a_row(client):
    assert client.get("/doc/all/").text.count('<th scope="row">') == 6


def test_every_route_is_known(app):
    rules = {f"{method} {rule}" for rule in app.url_map.iter_rules() for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert rules == {
        "GET /",
        "GET /account/",
        "GET /doc/all/",
        "GET /doc/draft/<name>/",
        "GET /healthz",
        "GET /login/",
        "GET /logout",
        "GET /static/<path:filename>",
        "POST /doc/draft/<name>/comment/",
        "POST /login/",
        "POST /logout",
    }


def test_a_wrong_method_is_refused(client, token_of):
    token = token_of(client.get("/login/").text)
    assert client.post("/doc/all/", data={"csrf_token": token}).status_code == 405


def test_the_revision_is_shown_where_it_is_known(app, client, monkeypatch):
    monkeypatch.setitem(app.config, "REVISION", "")
    assert "<code>" not in client.get("/").text
    monkeypatch.setitem(app.config, "ENVIRONMENT", "dev")
    monkeypatch.setitem(app.config, "REVISION", "0123456789abcdef")
    assert "dev · <code>0123456789</code>" in client.get("/").text
