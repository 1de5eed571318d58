import pytest

from viewer import create_app


def test_login_leads_to_the_first_page(log_in, client):
    answer = log_in()
    assert (answer.status_code, answer.location) == (302, "/")
    assert "Demo Reader" in client.get("/").text


def test_login_leads_back_to_where_it_began(log_in):
    assert log_in(next="/account/").location == "/account/"
    assert log_in(next="//example.org/").location == "/"


@pytest.mark.parametrize(
    ("user", "password"), [("demo", "wrong"), ("demo", ""), ("nobody", "quiet-harbour"), ("ines", "!")]
)
def test_wrong_login_is_refused(log_in, client, user, password):
    answer = log_in(user, password)
    assert answer.status_code == 401
    assert "User name or password is wrong" in answer.text
    assert client.get("/account/").status_code == 302


def test_login_needs_the_token(client):
    answer = client.post("/login/", data={"user": "demo", "password": "quiet-harbour"})
    assert answer.status_code == 400
    assert "form has expired" in answer.text


def test_login_changes_the_token(log_in, client, token_of):
    before = token_of(client.get("/login/").text)
    log_in()
    assert token_of(client.get("/account/").text) != before


def test_account_needs_a_login(log_in, client):
    answer = client.get("/account/")
    assert (answer.status_code, answer.location) == (302, "/login/?next=/account/")
    log_in()
    page = client.get("/account/").text
    assert "Documents you follow" in page
    assert "Log out" in page


def test_logout_ends_the_session(log_in, client, token_of):
    log_in()
    page = client.get("/logout").text
    assert client.get("/account/").status_code == 200
    assert client.post("/logout", data={"csrf_token": token_of(page)}).location == "/"
    assert client.get("/account/").status_code == 302


def test_a_session_of_a_user_who_is_gone_is_nobody(client):
    with client.session_transaction() as session:
        session["user_id"] = 999
    assert client.get("/").status_code == 200
    assert client.get("/account/").status_code == 302


def test_the_app_refuses_to_start_without_a_secret(monkeypatch):
    monkeypatch.delenv("SECRET_KEY", raising=False)
    with pytest.raises(RuntimeError, match="SECRET_KEY is not set"):
        create_app()
