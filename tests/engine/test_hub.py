"""Models by a name on the hub, from a stand-in on this machine: its own server, then offline from the cache."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

FILES = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": b"\x02\x00\x00\x00\x00\x00\x00\x00{}",
    "pytorch_model.bin": b"a pickle",
}
COMMIT = "0" * 40
FETCH = """
import sys
from quant_engine import QuantError
from quant_engine.models import fetch_from_hub
try:
    print(fetch_from_hub(sys.argv[1]))
except QuantError as error:
    print(error)
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers what huggingface_hub asks for about one model."""

    def do_GET(self):
        kind, _, rest = self.path.partition("org/tiny/")
        if kind == "/api/models/" and rest.startswith("revision/"):
            listed = [{"rfilename": name} for name in FILES]
            self.answer(json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": listed}).encode())
        elif kind == "/api/models/" and rest.startswith("tree/"):
            self.answer(
                json.dumps([{"type": "file", "path": n, "size": len(c), "oid": "0"} for n, c in FILES.items()]).encode()
            )
        elif kind == "/" and (name := rest.removeprefix(f"resolve/{COMMIT}/")) in FILES:
            self.answer(FILES[name])
        else:
            self.answer(b"{}", 404)

    def do_HEAD(self):
        self.do_GET()

    def answer(self, content, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


def fetched(name, **environment):
    done = subprocess.run(
        [sys.executable, "-c", FETCH, name],
        env={**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_model_is_fetched_from_a_mirror_without_its_pickles_and_opens_offline_afterwards(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path)}
    try:
        folder = pathlib.Path(fetched("org/tiny", **endpoint))
        missing = fetched("org/other", **endpoint)
    finally:
        server.shutdown()
        server.server_close()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: content for name, content in FILES.items() if name != "pytorch_model.bin"
    }
    assert "org/other cannot be fetched from the hub" in missing
    assert "HF_ENDPOINT" in missing
    assert fetched("org/tiny", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path)) == str(folder)
