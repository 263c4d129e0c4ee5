"""Inference servers for tests: one of our own that speaks the Open Inference Protocol v2, and MLServer.

Ours runs the network really, in ONNX Runtime; its faults are asked for by name.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime

from tests.support.site import free_port

MLSERVER = "ORTHANC_AL_TEST_MLSERVER"
"""Names the folder of a virtual environment with MLServer: `make test-inference-server` makes one."""

_LENGTH = "Inference-Header-Content-Length"
_BODIES = {
    "garbage": b"\x00\xff{{{",
    "another document": b'{"outputs": 7}',
    "no": b'{"error": "the GPU is on fire"}',
}
_SPOILT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "wrong shape": lambda embedding: embedding[:, :2],
    "not finite": lambda embedding: embedding * np.nan,
    "other weights": lambda embedding: embedding + 1.0,
}


class OwnServer:
    """Serves one network under a name; ``fault`` says how it misbehaves (see `_Handler._answer`)."""

    def __init__(self, name: str, model: bytes, *, binary: bool) -> None:
        self.name = name
        self.binary = binary
        self.fault = ""
        self.answered = 0
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        own = self

        class Handler(_Handler):
            server_of = own

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    def __enter__(self) -> "OwnServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_of: OwnServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        extensions = ["binary_tensor_data"] if self.server_of.binary else []
        self._send(json.dumps({"name": "own", "version": "1", "extensions": extensions}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != f"/v2/models/{self.server_of.name}/infer":
            self._send(b'{"error": "no such model"}', 404)
            return
        self.server_of.answered += 1
        end = int(self.headers.get(_LENGTH, len(body)))
        asked = json.loads(body[:end])
        (tensor,) = asked["inputs"]
        if "data" in tensor:
            batch = np.array(tensor["data"], np.float32)
        else:
            assert tensor["parameters"]["binary_data_size"] == len(body) - end
            batch = np.frombuffer(body[end:], "<f4")
        names = [output["name"] for output in asked["outputs"]]
        made = self.server_of.session.run(names, {tensor["name"]: batch.reshape(tensor["shape"])})
        self._answer(dict(zip(names, made, strict=True)))

    def _answer(self, made: dict[str, np.ndarray]) -> None:
        fault = self.server_of.fault
        if fault in _BODIES:
            self._send(_BODIES[fault], 500 if fault == "no" else 200)
        elif fault == "slow":
            self._drip()
        elif fault == "hangs up":
            self.close_connection = True
        else:
            made["embedding"] = _SPOILT.get(fault, np.asarray)(made["embedding"])
            tensors, data = self._written(made)
            if fault == "lacks an output":
                tensors.pop()
            if fault == "claims more":
                tensors[0]["shape"] = [100_000, 100_000]
            head = json.dumps({"model_name": self.server_of.name, "outputs": tensors}).encode()
            self._send(head + data, headers={_LENGTH: str(len(head))} if self.server_of.binary else {})

    def _written(self, made: dict[str, np.ndarray]) -> tuple[list[dict[str, Any]], bytes]:
        tensors, data = [], b""
        for name, array in made.items():
            tensor: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": "FP32"}
            if self.server_of.binary:
                tensor["parameters"] = {"binary_data_size": array.nbytes}
                data += array.astype("<f4").tobytes()
            else:
                tensor["data"] = array.ravel().tolist()
            tensors.append(tensor)
        return tensors, data

    def _drip(self) -> None:
        """Send a byte now and then: each packet is in time, the answer never is."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.close_connection = True
        try:
            for _ in range(40):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.02)
        except OSError:
            return

    def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


_RUNTIME = """
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Network(MLModel):
    async def load(self) -> bool:
        self._session = onnxruntime.InferenceSession(
            self._settings.parameters.uri, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload):
        (tensor,) = payload.inputs
        wanted = [output.name for output in payload.outputs]
        batch = NumpyCodec.decode_input(tensor).astype("float32")
        made = self._session.run(wanted, {tensor.name: batch})
        outputs = [NumpyCodec.encode_output(name, array) for name, array in zip(wanted, made)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""


@contextmanager
def mlserver(folder: Path, name: str, model: bytes) -> Iterator[str]:
    """Run MLServer with a network; gives its URL."""
    served = folder / name
    served.mkdir(parents=True)
    (served / "model.onnx").write_bytes(model)
    (served / "network.py").write_text(_RUNTIME)
    ports = {key: free_port() for key in ("http_port", "grpc_port", "metrics_port")}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
    (folder / "settings.json").write_text(json.dumps(settings))
    network = {
        "name": name,
        "implementation": "network.Network",
        "parameters": {"uri": str(served / "model.onnx")},
    }
    (served / "model-settings.json").write_text(json.dumps(network))
    program = Path(os.environ[MLSERVER]) / "bin" / "mlserver"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "start", folder], stdout=log, stderr=log, cwd=folder)
    url = f"http://127.0.0.1:{ports['http_port']}"
    try:
        _wait(f"{url}/v2/models/{name}/ready", process, folder / "log")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise RuntimeError(f"MLServer did not start: {log.read_text()[-2000:]}")
