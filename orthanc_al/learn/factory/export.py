"""From a trained network to embeddings, and to the bytes of ``model.onnx``."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from orthanc_al.inference.contents import OUTPUTS
from orthanc_al.learn.factory.network import Network

_BATCH = 128


def embed(network: Network, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the embeddings of model inputs (n, 1, s, s), shape (n, d)."""
    network.eval()
    with torch.inference_mode():
        parts = [network(torch.from_numpy(part))[1] for part in _batches(images)]
    return np.asarray(torch.cat(parts).numpy())


def export_onnx(network: Network, weight: ArrayLike, bias: ArrayLike, size: int) -> bytes:
    """Return ``model.onnx``: the network with a head of its own, any number of images at a time.

    Parameters
    ----------
    network
        Its own head is left out.
    weight, bias
        The head, shapes (d, k) and (k,); they become the initializers ``head.weight`` and ``head.bias``
        that :func:`orthanc_al.inference.head_swap.swap_head` edits.
    size
        Side of the input (n, 1, size, size), named ``image``.
    """
    module = _WithHead(network, weight, bias).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            (torch.zeros(2, 1, size, size),),
            path,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        proto = onnx.load(path)
    onnx.checker.check_model(proto)
    return _without_traces(proto)


class _Head(nn.Module):
    """``embedding @ weight + bias``, so written that the initializers keep name and shape."""

    def __init__(self, weight: ArrayLike, bias: ArrayLike) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(np.asarray(weight, np.float32)))
        self.bias = nn.Parameter(torch.tensor(np.asarray(bias, np.float32)))

    def forward(self, embedding: Tensor) -> Tensor:
        return torch.matmul(embedding, self.weight) + self.bias


class _WithHead(nn.Module):
    """The network with another head."""

    def __init__(self, network: Network, weight: ArrayLike, bias: ArrayLike) -> None:
        super().__init__()
        self.network = network
        self.head = _Head(weight, bias)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, embedding, feature_map = self.network(image)
        return self.head(embedding), embedding, feature_map


def _batches(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]


def _without_traces(proto: onnx.ModelProto) -> bytes:
    """Return the bytes without the exporter's stack traces, which name paths of the machine."""
    del proto.metadata_props[:]
    graph = proto.graph
    for holder in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del holder.metadata_props[:]
        holder.doc_string = ""
    proto.doc_string = ""
    return bytes(proto.SerializeToString(deterministic=True))
