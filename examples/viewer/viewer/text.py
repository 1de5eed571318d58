"""How dates and numbers read on a page."""

from datetime import datetime


def init_app(app):
    app.add_template_filter(day)
    app.add_template_filter(counted)


def day(timestamp):
    """`2026-01-07T09:30:00Z` as `7 January 2026`."""
    moment = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ")
    return f"{moment.day} {moment:%B %Y}"


def counted(number, noun):
    """`1 comment`, `2 comments`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
