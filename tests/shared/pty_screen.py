"""A process on a pseudo-terminal, and what a person sees there."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pyte


class Screen:
    """A command on a terminal of its own.

    It starts with the first call that needs it.

    Args:
        words: The command.
        columns: Width of the terminal.
        lines: Height.
        env: Its environment.
        cwd: Its working directory.
    """

    def __init__(self, words, columns=80, lines=24, *, env, cwd=None):
        self.words, self.env, self.cwd, self.stdout = words, dict(env), cwd, None
        self.pyte = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.pyte)
        self.raw, self.process = "", None

    def start(self):
        self._ours, theirs = pty.openpty()
        self._tell_size()
        out = self.stdout.open("wb") if self.stdout else theirs
        self.process = subprocess.Popen(
            self.words, stdin=theirs, stdout=out, stderr=theirs, env=self.env, cwd=self.cwd,
            start_new_session=True,
            # The terminal becomes the one whose ctrl-C the process hears.
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)

    @property
    def text(self):
        return "\n".join(self.lines)

    @property
    def lines(self):
        lines = [line.rstrip() for line in self.pyte.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def read(self, seconds=0.0):
        """Takes what was written; whether the terminal is still open."""
        if self.process is None:
            self.start()
        until = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return True
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                return False
            if not data:
                return False
            self.raw += data.decode(errors="replace")
            self._stream.feed(data)

    def wait_for(self, what, seconds=60):
        """Reads until the screen shows a text, or fulfils a condition."""
        shows = what if callable(what) else lambda text: what in text
        until = time.monotonic() + seconds
        while not shows(self.text):
            assert self.read(0.1), self.text
            assert time.monotonic() < until, self.text

    def ended(self, seconds=120):
        """Reads until the process has ended; its exit status."""
        until = time.monotonic() + seconds
        while self.read(0.1) and (self.process.poll() is None):
            assert time.monotonic() < until, self.text
        status = self.process.wait(seconds)
        self.read(0.2)
        return status

    def resize(self, columns, lines):
        self.pyte.resize(lines, columns)
        self._tell_size()

    def type(self, keys):
        os.write(self._ours, keys.encode())

    def close(self):
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def _tell_size(self):
        size = struct.pack("HHHH", self.pyte.lines, self.pyte.columns, 0, 0)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)
