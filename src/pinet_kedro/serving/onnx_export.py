"""The backbone of a model as ONNX, for servers that run no Python."""

import json
import logging
import shutil
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.errors import InputError
from pinet_kedro.recommender import Recommender

_CHECKED = (1, 100)  # users of the batches that are compared
_TOLERANCE = 1e-4  # of the largest score


class _Scores(nn.Module):
    """State and scores after the newest event, without branches that depend on the histories."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, histories: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B I"]]:
        states = self.backbone.states(histories)[:, -1]
        return states, states @ self.backbone.item_vectors().T


def require_onnx(backbone: str) -> None:
    """Raises `InputError` without the packages, or for a backbone that ONNX cannot express."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"an export as ONNX needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'pinet-kedro[onnx]'"
        )
    if backbone not in ("sasrec", "lrurec"):
        why = {
            "gru4rec": "it packs histories without padding, in shapes that depend on their lengths",
            "din": "its scores are not products of a state and vectors of items",
        }.get(backbone, "only sasrec and lrurec have been checked")
        raise InputError(f"the backbone {backbone} cannot be exported as ONNX: {why}.")


def export_backbone(model: Recommender, folder: Path) -> float:
    """The largest difference between scores of ONNX Runtime and of torch, relative to the largest score.

    Writes `backbone.onnx` and `items.json` into the new `folder`. The input `histories` (int64, users x `max_length`)
    has the newest items of each user, the newest last, as their places in `items.json` counted from 1, after zeros. The
    outputs are `states` (users x width) and `scores` (users x items), those of the backbone alone, without plugins.

    Both are compared on random histories of every length, and nothing is left of an export that differs by more than
    1e-4: then it raises `ArithmeticError`.
    """
    require_onnx(model.backbone.config.name)
    length = model.backbone.config.max_length
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        place = Path(temporary, "export")
        place.mkdir()
        _write(model.backbone, length, place / "backbone.onnx")
        (place / "items.json").write_text(json.dumps(model.item_ids.tolist()), encoding="utf-8")
        # numpy's maximum: NaN, which Python's may lose, is a difference.
        difference = float(np.max([_difference(model.backbone, place / "backbone.onnx", users) for users in _CHECKED]))
        if not difference <= _TOLERANCE:
            raise ArithmeticError(
                f"the export was not written: its scores differ from the model's by {difference:.1e} of the largest"
            )
        shutil.move(place, folder)
    return difference


def _write(backbone: Backbone, length: int, file: Path) -> None:
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of packages for operators that no backbone has
    try:
        # The memory layout of fused attention is another one than what the exporter makes of it.
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Scores(backbone).eval(),
                (torch.ones((2, length), dtype=torch.int64),),
                input_names=["histories"],
                output_names=["states", "scores"],
                dynamic_shapes={"histories": {0: torch.export.Dim("users")}},
                verbose=False,
                dynamo=True,
            )
    finally:
        log.setLevel(level)
    assert program is not None
    program.save(file)


@torch.no_grad()
def _difference(backbone: Backbone, file: Path, users: int) -> float:
    import onnxruntime

    rng = np.random.default_rng(1)
    length = backbone.config.max_length
    histories = rng.integers(1, backbone.n_items + 1, (users, length))
    histories[np.arange(length) < length - rng.integers(1, length + 1, (users, 1))] = 0
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    states, scores = session.run(["states", "scores"], {"histories": histories})
    expected = backbone.read(torch.from_numpy(histories))
    found = [
        float((torch.from_numpy(mine) - theirs).abs().max() / theirs.abs().max())
        for mine, theirs in zip((states, scores), expected, strict=True)
    ]
    return float(np.max(found))
