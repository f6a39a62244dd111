"""Where processes listen, read from /proc."""

import contextlib
import ipaddress
import os
import struct
from pathlib import Path

LISTENING = "0A"


def listeners(pids):
    """Pairs of a process's name and the IP address it listens on."""
    owners = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    owners[os.readlink(file)] = Path(f"/proc/{pid}/comm").read_text().strip()
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            owner = owners.get(f"socket:[{words[9]}]")
            if words[3] == LISTENING and owner is not None:
                found.append((owner, _address(words[1].partition(":")[0])))
    return found


def _address(digits):
    """The kernel shows words of four bytes, each in the machine's own order."""
    words = [int(digits[i : i + 8], 16) for i in range(0, len(digits), 8)]
    address = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
    return getattr(address, "ipv4_mapped", None) or address
