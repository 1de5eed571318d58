"""A reader of the sample app: logs in at sys.argv[1] and writes the comment sys.argv[2]."""

import re
import sys
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

address, text = sys.argv[1:]
document = "/doc/draft/draft-moss-idle-close/"
browser = build_opener(HTTPCookieProcessor(CookieJar()))


def visit(path, **fields):
    data = urlencode(fields).encode() if fields else None
    return browser.open(f"http://{address}{path}", data, timeout=20).read().decode()


def token_of(page):
    return re.search(r'name="csrf_token" value="([^"]+)"', page).group(1)


token = token_of(visit("/login/"))
visit("/login/", user="demo", password="quiet-harbour", csrf_token=token)
page = visit(document + "comment/", body=text, csrf_token=token_of(visit(document)))
assert text in page, page
