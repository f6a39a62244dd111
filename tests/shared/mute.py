"""Servers that take connections and never say a word."""

import contextlib
import socket


@contextlib.contextmanager
def mute_server():
    """Its port; connections are taken by the kernel, and nobody reads them."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
