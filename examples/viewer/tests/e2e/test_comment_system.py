DOCUMENT = "/doc/draft/draft-tanaka-plain-status/"


def test_a_comment_appears_for_everybody(browser, server):
    browser.log_in()
    page = browser.submit(browser.visit(DOCUMENT), body="  Members <b>and</b> words,\r\nplease.  ")
    assert page.status == 200
    stranger = type(browser)(server).visit(DOCUMENT)
    assert "Members &lt;b&gt;and&lt;/b&gt; words,\nplease.</p>" in stranger.text
    assert "Demo Reader" in stranger.text


def test_an_empty_comment_is_explained(browser):
    browser.log_in()
    page = browser.submit(browser.visit(DOCUMENT), body="   ")
    assert page.status == 400
    assert "Write something first." in page.text


def test_a_long_comment_is_kept_in_the_form(browser):
    browser.log_in()
    page = browser.submit(browser.visit(DOCUMENT), body="x" * 2001)
    assert page.status == 400
    assert "x" * 2001 in page.text


def test_a_comment_needs_the_token(browser):
    browser.log_in()
    page = browser.visit(DOCUMENT + "comment/", {"body": "Forged."})
    assert page.status == 400
    assert "Forged." not in browser.visit(DOCUMENT).text


def test_a_comment_needs_a_login(browser):
    token = browser.visit("/login/").forms[0][1]["csrf_token"]
    page = browser.visit(DOCUMENT + "comment/", {"body": "Anonymous.", "csrf_token": token})
    assert "/login/?next=" in page.url
    assert "Anonymous." not in browser.visit(DOCUMENT).text


def test_a_comment_on_no_document_is_not_found(browser):
    browser.log_in()
    token = browser.visit(DOCUMENT).forms[0][1]["csrf_token"]
    assert browser.visit("/doc/draft/draft-nobody-wrote/comment/", {"body": "Lost.", "csrf_token": token}).status == 404
