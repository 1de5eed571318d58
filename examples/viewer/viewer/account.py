"""The page of the user who is logged in."""

from flask import Blueprint, g, render_template, url_for

from viewer.auth import redirect_to_login
from viewer.documents import list_followed

pages = Blueprint("account", __name__)


@pages.get("/account/")
def account():
    if g.user is None:
        return redirect_to_login(url_for("account.account"))
    return render_template("account.html", followed=list_followed(g.user.id))
