"""What gunicorn loads: `gunicorn wsgi:app`."""

from viewer import create_app

app = create_app()
