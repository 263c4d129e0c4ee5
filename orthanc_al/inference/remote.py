"""A network on a server that speaks the Open Inference Protocol v2 by HTTP: Triton, KServe, MLServer.

The server gives embeddings and feature maps; the last layer is run here. So a head that was fitted at night
needs nothing of the server: it serves the same backbone as before.
"""

import time
from functools import cached_property
from typing import Final

import httpx
import numpy as np
from numpy.typing import NDArray

from orthanc_al.errors import InferenceError
from orthanc_al.inference.scorer import Outputs
from orthanc_al.inference.tensors import JSON_LENGTH, arrays, request

_WANTED: Final = ("embedding", "feature_map")
_BINARY: Final = "binary_tensor_data"
_LARGEST: Final = 256 * 2**20  # bytes of an answer
_TOLD: Final = 200


def http_client() -> httpx.Client:
    """Return a client for all that is asked of servers, with connections that are kept.

    No proxy from the environment: pixels go where the configuration says, and nowhere else.
    """
    return httpx.Client(trust_env=False)


class RemoteScorer:
    """Runs a network on an inference server.

    Parameters
    ----------
    url
        Of the server; the protocol's paths (``/v2/...``) follow it.
    model
        The model's name there.
    input_name
        Of the network's one input.
    weight, bias
        Of the head, shapes (d, k) and (k,).
    client
        Threads and scorers share it.
    timeout
        Seconds for a whole answer.
    """

    def __init__(
        self,
        url: str,
        model: str,
        input_name: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        client: httpx.Client,
        timeout: float = 5.0,
    ) -> None:
        self._url = url.rstrip("/")
        self._model = model
        self._input = input_name
        self._weight, self._bias = weight, bias
        self._timeout = timeout
        self._client = client

    @property
    def provider(self) -> str:
        """The server and the model there."""
        return f"{self._url} ({self._model})"

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the network on a batch of shape (n, channels, size, size).

        Raises
        ------
        InferenceError
            The server is away, too slow, says no, or answers with something else than was asked for.
        """
        body, headers = request(self._input, batch, _WANTED, binary=self._binary)
        answer, json_length = self._ask("POST", f"/v2/models/{self._model}/infer", body, headers)
        embedding, feature_map = arrays(answer, json_length, _WANTED)
        n, d = len(batch), len(self._weight)
        if embedding.shape != (n, d) or feature_map.ndim != 4 or feature_map.shape[:2] != (n, d):
            raise InferenceError(
                f"{self.provider} gives shapes {embedding.shape} and {feature_map.shape} where ({n}, {d}) "
                f"and ({n}, {d}, h, w) are due: it serves another model"
            )
        if not (np.isfinite(embedding).all() and np.isfinite(feature_map).all()):
            raise InferenceError(f"{self.provider} gives what is not a finite number")
        return Outputs(embedding @ self._weight + self._bias, embedding, feature_map)

    @cached_property
    def _binary(self) -> bool:
        """Whether the server takes bytes for tensors; JSON is some ten times as long."""
        answer, _ = self._ask("GET", "/v2")
        return _BINARY.encode() in answer

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[bytes, str | None]:
        """Return body and JSON length of an answer; tried twice where the connection breaks.

        A server may close a connection that was kept just when it is used again, and to run a network twice
        does no harm.
        """
        try:
            return self._try(method, path, body, headers)
        except httpx.TimeoutException as error:
            raise self._not_reached(error) from error
        except httpx.TransportError:
            pass
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._not_reached(error) from error
        try:
            return self._try(method, path, body, headers)
        except httpx.HTTPError as error:
            raise self._not_reached(error) from error

    def _try(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str] | None
    ) -> tuple[bytes, str | None]:
        """Ask once; the time limit is for the whole answer, not for each packet."""
        until = time.monotonic() + self._timeout
        received = bytearray()
        with self._client.stream(
            method, self._url + path, content=body, headers=headers, timeout=self._timeout
        ) as response:
            for chunk in response.iter_bytes():
                received += chunk
                if len(received) > _LARGEST:
                    raise InferenceError(f"{self.provider} answers with more than {_LARGEST} bytes")
                if time.monotonic() > until:
                    raise InferenceError(f"{self.provider} has not answered within {self._timeout:g} s")
        if response.status_code != httpx.codes.OK:
            told = " ".join(received[:_TOLD].decode(errors="replace").split())
            raise InferenceError(f"{self.provider} answers {response.status_code}: {told}")
        return bytes(received), response.headers.get(JSON_LENGTH)

    def _not_reached(self, error: Exception) -> InferenceError:
        return InferenceError(f"{self.provider} is not reached ({type(error).__name__}: {error})")
