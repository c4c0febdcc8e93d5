"""RecBole's SASRec, in RecBole's own environment (`rival_loop.py` says how it is started)."""

from types import SimpleNamespace

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed
from rival_loop import arguments, train


def main() -> None:
    folder, until = arguments()
    torch.set_num_threads(1)
    held_out = np.load(folder / "held_out.npz")
    # The size of our SASRec; the rest is RecBole's default.
    settings = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "hidden_size": 64,
        "inner_size": 128,
        "n_layers": 2,
        "n_heads": 2,
        "MAX_ITEM_LIST_LENGTH": 50,
        "use_gpu": False,
        "show_progress": False,
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@10",
        "seed": 1,
        "checkpoint_dir": str(folder),
    }

    def prepare() -> SimpleNamespace:
        config = Config(model="SASRec", dataset="log", config_dict=settings)
        init_seed(config["seed"], reproducibility=True)
        dataset = create_dataset(config)
        parts = data_preparation(config, dataset)
        model = SASRec(config, parts[0].dataset)
        return SimpleNamespace(dataset=dataset, parts=parts, model=model, trainer=Trainer(config, model), epochs=0)

    def epoch(run: SimpleNamespace) -> None:
        run.trainer._train_epoch(run.parts[0], run.epochs)
        run.epochs += 1

    def test(run: SimpleNamespace) -> float:
        """NDCG@10 in the whole catalogue without what was seen, as ours is; RecBole's own leaves seen items in."""
        run.model.eval()
        items, gains = run.dataset.item_num, []
        columns = run.dataset.id2token("item_id", np.arange(1, items)).astype(int) - 1
        with torch.no_grad():
            for interaction, *_ in run.parts[2]:
                found = run.model.full_sort_predict(interaction).view(-1, items).numpy()
                user = run.dataset.id2token("user_id", interaction["user_id"].numpy()).astype(int) - 1
                scores = np.empty((len(user), items - 1), np.float32)
                scores[:, columns] = found[:, 1:]
                target = held_out["test"][user][:, None] - 1
                score = np.take_along_axis(scores, target, 1)
                scores[held_out["seen"][user]] = -np.inf
                np.put_along_axis(scores, target, score, 1)
                rank = 1 + (scores > score).sum(1) + 0.5 * ((scores == score).sum(1) - 1)
                gains.append(np.where(rank <= 10, 1 / np.log2(rank + 1), 0))
        return float(np.concatenate(gains).mean())

    def load(run: SimpleNamespace, path) -> None:
        kept = torch.load(path, weights_only=True)
        run.model.load_state_dict(kept["model"])
        run.trainer.optimizer.load_state_dict(kept["optimiser"])
        run.epochs = kept["epochs"]

    def save(run: SimpleNamespace, path) -> None:
        state = {"model": run.model.state_dict(), "optimiser": run.trainer.optimizer.state_dict()}
        torch.save(state | {"epochs": run.epochs}, path)

    train(
        folder,
        until,
        prepare=prepare,
        epoch=epoch,
        valid=lambda run: float(run.trainer.evaluate(run.parts[1], load_best_model=False)["ndcg@10"]),
        test=test,
        save=save,
        load=load,
        counts=lambda run: {"events": len(run.parts[0].dataset), "users": len(run.parts[1].dataset)},
    )


if __name__ == "__main__":
    main()
