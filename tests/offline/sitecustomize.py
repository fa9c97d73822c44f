"""Python imports this at its start where the folder is on PYTHONPATH: no name is resolved, no host is reached."""

import os
import socket
import time


def _refused(*arguments, **options):
    with open(os.environ["REACHED"], "a") as stream:
        stream.write(f"{arguments}\n")
    raise OSError(101, "Network is unreachable")


class _Socket(socket.socket):
    def connect(self, address):
        return super().connect(address) if self.family == socket.AF_UNIX else _refused(address)

    connect_ex = connect


if "REACHED" in os.environ:
    socket.socket = _Socket
    socket.getaddrinfo = socket.create_connection = _refused
    time.sleep = lambda seconds: None  # between two attempts to reach a host
