"""Settings of gunicorn that hold wherever the app runs; the command line adds the address."""

# Its default path is one per user: two instances side by side would fight for it.
control_socket_disable = True
