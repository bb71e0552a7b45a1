"""A server and its hostile surroundings, alone in a network of their own (Linux namespaces).

In it, this process has an address that is public everywhere else, and names of its own. Prints what the
server answers about each URL, and how often a web server that nobody may ask was asked.

usage: unshare --user --map-root-user --net --mount strangers.py HOME IMAGE
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tests.servers import running_server
from tests.web_server import answer, redirect, serve

PUBLIC = "93.184.216.34"
PORT = 8080
"""Of the public web server; the forbidden one listens on the next."""

HOSTS = f"""
127.0.0.1 localhost inside.test
{PUBLIC} public.test
{PUBLIC} both.test
127.0.0.1 both.test
"""
_SET_ADDRESS, _SET_FLAGS, _UP_AND_RUNNING = 0x8916, 0x8914, 0x41  # netdevice(7)


def main(home: Path, image: Path) -> None:
    join(home)
    secret = f":{PORT + 1}/secret"
    forbidden = {
        "a loopback address": f"http://127.0.0.1{secret}",
        "another loopback address": f"http://127.8.8.8{secret}",
        "the metadata service": "http://169.254.169.254/latest/meta-data/",
        "a decimal address": f"http://2130706433{secret}",
        "a short address": f"http://127.1{secret}",
        "IPv6": f"http://[::1]{secret}",
        "IPv4 in IPv6": f"http://[::ffff:127.0.0.1]{secret}",
        "a name": f"http://inside.test{secret}",
        "a name of two addresses": f"http://both.test{secret}",
        "credentials": f"http://public.test@127.0.0.1{secret}",
        "no scheme": f"//127.0.0.1{secret}",
        "a file": "file:///etc/passwd",
        "gopher": f"gopher://127.0.0.1{secret}",
    }
    redirects = {f"/{number}": redirect(url) for number, url in enumerate(forbidden.values())}
    good = answer(image.read_bytes())
    pages = {"/image": good, "/moved": redirect("/image"), "/twice": redirect("/0"), **redirects}
    with (
        serve(pages, host=PUBLIC, port=PORT) as public,
        serve({"/secret": good}, host="0.0.0.0", port=PORT + 1) as hidden,
        running_server(home, workers=2) as server,
    ):
        urls = {"good": f"{public.url}/image", "good name": f"http://public.test:{PORT}/image"}
        urls |= {"good redirect": f"{public.url}/moved", "redirect to a redirect": f"{public.url}/twice"}
        urls |= {f"redirect to {what}": f"{public.url}/{n}" for n, what in enumerate(forbidden)}
        urls |= {
            "a name": forbidden["a name"],
            "a name of two addresses": forbidden["a name of two addresses"],
        }
        records = [{"_url": url, "what": what} for what, url in urls.items()]
        found = server.post("remove_duplicates", {"records": records}).json()
        print(json.dumps({"answer": found, "asked": hidden.connections, "followed": len(public.hits)}))


def join(home: Path) -> None:
    """Bring up the loopback device with the public address, and replace the table of hosts."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        address = struct.pack("16sH2s4s8s", b"lo:1", socket.AF_INET, b"", socket.inet_aton(PUBLIC), b"")
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14s", b"lo", _UP_AND_RUNNING, b""))
        fcntl.ioctl(control, _SET_ADDRESS, address)
    home.mkdir()
    hosts = home / "hosts"
    hosts.write_text(HOSTS)
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
