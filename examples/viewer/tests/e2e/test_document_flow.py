def test_from_the_first_page_to_a_document(browser):
    first = browser.visit("/")
    listing = browser.visit(next(link for link in first.links if link.endswith("/doc/all/")))
    links = [link for link in listing.links if "/doc/draft/" in link]
    assert len(links) == 6
    document = browser.visit(links[0])
    assert "Closing Idle Connections without Losing Requests" in document.text
    assert "Abstract" in document.text
    assert "Ines Moss" in document.text


def test_login_leads_back_to_the_document(browser):
    document = browser.visit("/doc/draft/draft-weiss-loopback-names/")
    assert document.forms == []
    login = browser.visit(next(link for link in document.links if "/login/?next=" in link))
    back = browser.submit(login, user="demo", password="quiet-harbour")
    assert back.url == document.url
    assert "Your comment" in back.text
