"""RecTools' SASRec, in RecTools' own environment (`rival_loop.py` says how it is started)."""

import logging
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import seed_everything
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rival_loop import arguments, train

LENGTH = 50  # events of a history that are read


def main() -> None:
    folder, until = arguments()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    held_out = np.load(folder / "held_out.npz")

    def prepare() -> SimpleNamespace:
        seed_everything(1)
        log = pd.read_csv(folder / "log" / "log.inter", sep="\t")
        log.columns = ["user_id", "item_id", "datetime"]
        log["datetime"] = pd.to_datetime(log["datetime"], unit="s")
        log["weight"] = 1.0
        left = log.groupby("user_id")["datetime"].rank(ascending=False)
        fitted, known = (Dataset.construct(log[left > held]) for held in (2, 1))
        # The size of our SASRec as far as there are settings for it; the rest is RecTools' default.
        size = {"n_blocks": 2, "n_heads": 2, "n_factors": 64, "session_max_len": LENGTH}
        model = SASRecModel(**size, epochs=300, deterministic=True)  # epochs: what may be loaded again
        return SimpleNamespace(
            log=log[left > 2], users=np.sort(log["user_id"].unique()), model=model, data=(fitted, known)
        )

    def ndcg(run: SimpleNamespace, dataset: Dataset, target: np.ndarray) -> float:
        """NDCG@10 in the whole catalogue without what was seen."""
        found = run.model.recommend(users=run.users, dataset=dataset, k=10, filter_viewed=True)
        hit = found[found["item_id"].to_numpy() == target[found["user_id"].to_numpy() - 1]]
        return float((1 / np.log2(hit["rank"] + 1)).sum() / len(run.users))

    def counts(run: SimpleNamespace) -> dict[str, int]:
        """Targets of an epoch, which reads a user's newest events alone, and users."""
        targets = (run.log.groupby("user_id").size() - 1).clip(upper=LENGTH)
        return {"events": int(targets.sum()), "users": len(run.users)}

    train(
        folder,
        until,
        prepare=prepare,
        epoch=lambda run: run.model.fit_partial(run.data[0], min_epochs=1, max_epochs=1),
        valid=lambda run: ndcg(run, run.data[0], held_out["valid"]),
        test=lambda run: ndcg(run, run.data[1], held_out["test"]),
        save=lambda run, path: run.model.save(path),
        load=lambda run, path: setattr(run, "model", SASRecModel.load(path)),
        counts=counts,
    )


if __name__ == "__main__":
    main()
