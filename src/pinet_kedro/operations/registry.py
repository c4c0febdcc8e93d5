"""The trained PIN in the MLflow registry: typed, self-contained, nothing in it unpickled."""

import tempfile
from pathlib import Path
from typing import Any

import pinet_kedro
from pinet_kedro.operations import tracking
from pinet_kedro.operations.tracking_config import Tracking
from pinet_kedro.recommender import Recommender

ALIAS = "challenger"
_REQUIREMENTS = ("jaxtyping", "mlflow", "numpy", "pandas", "pydantic", "safetensors", "scipy", "torch")


def register_model(model: Recommender, evaluation: dict[str, Any], config: Tracking) -> dict[str, Any]:
    """`model, version, alias, run_id, uri` of the new version, which carries its head and tail figures as tags.

    Models-from-code: what is stored is `served_model.py`, the package's own source, and the recommender's safetensors
    and JSON. Loading needs neither this project nor its configuration.
    """
    from importlib.metadata import version as installed

    import mlflow

    # The signature comes from the type hints of `served_model.py`, and that of the parameters from these values.
    example = ([{"history": model.item_ids[:3].tolist()}], {"k": 10, "exclude_seen": True})
    tracking.connect(config)
    package = Path(pinet_kedro.__file__).parent
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_id=tracking.run_id()) as run:
        artifacts = Path(folder, "recommender")
        artifacts.mkdir()
        model.save(artifacts)
        info = mlflow.pyfunc.log_model(
            name="pinet",
            python_model=str(package / "operations" / "served_model.py"),
            artifacts={"recommender": str(artifacts)},
            code_paths=[str(package)],
            input_example=example,
            pip_requirements=[f"{name}=={installed(name).split('+')[0]}" for name in _REQUIREMENTS],
            registered_model_name=config.model,
        )
        run_id = run.info.run_id
    version = str(info.registered_model_version)
    client = mlflow.MlflowClient()
    for key, value in _tags(evaluation).items():
        client.set_model_version_tag(config.model, version, key, value)
    client.set_registered_model_alias(config.model, ALIAS, version)
    return {
        "model": config.model,
        "version": version,
        "alias": ALIAS,
        "run_id": run_id,
        "uri": f"models:/{config.model}@{ALIAS}",
    }


def _tags(evaluation: dict[str, Any]) -> dict[str, str]:
    pin, gains = evaluation["models"]["pin"], evaluation["comparisons"]["pin_vs_base"]
    tags = {"data.sha256": evaluation["data"]["sha256"]}
    for group in ("head", "tail"):
        tags[f"{group}.ndcg_at_10"] = f"{pin[group]['ndcg_at_10']:.6f}"
        gain = gains[group]["ndcg_at_10"]["relative"]
        tags[f"{group}.gain_over_base"] = "undefined" if gain is None else f"{gain:+.6f}"
    return tags
