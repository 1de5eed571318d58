def test_welcome(browser):
    page = browser.visit("/")
    assert page.status == 200
    assert "Welcome" in page.text
    assert "Latest documents" in page.text


def test_no_link_is_broken(browser):
    browser.log_in()
    waiting, seen = [browser.base + "/"], set()
    while waiting:
        url = waiting.pop().partition("#")[0]
        if url in seen:
            continue
        seen.add(url)
        page = browser.visit(url)
        assert page.status == 200, url
        assert "Traceback" not in page.text
        waiting += page.links
    assert len(seen) == 11


def test_every_anchor_has_its_target(browser):
    page = browser.visit("/doc/draft/draft-moss-idle-close/")
    anchors = [link.partition("#")[2] for link in page.links if "#" in link]
    assert anchors
    assert all(f'id="{anchor}"' in page.text for anchor in anchors)


def test_missing_page_leads_home(browser):
    page = browser.visit("/no/such/page/")
    assert page.status == 404
    assert browser.base + "/" in page.links


def test_health(browser):
    page = browser.visit("/healthz")
    assert page.status == 200
    assert '"status":"healthy"' in page.text
