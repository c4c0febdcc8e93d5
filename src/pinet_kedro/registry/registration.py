"""Registers the trained PIN in MLflow: with typed signature, self-contained, without pickles."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pinet_kedro
from pinet_kedro.registry.digest import DIGEST, digest_of, listing, settle
from pinet_kedro.registry.loading import JUDGED, LEARNT_UNTIL, SERVED, VersionModels
from pinet_kedro.registry.users import USERS, save_users
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.recording import metrics_of

ALIAS = "challenger"
_PACKAGE = Path(pinet_kedro.__file__).parent
# The code that a version needs to answer: the method without its training, and the class that MLflow loads.
_SERVING_CODE = (
    "__init__.py", "activeness.py", "configuration.py", "dataset.py", "errors.py", "randomness.py", "recommender.py",
    "backbones", "interactions", "losses", "plugins", "reading", "serving/__init__.py", "serving/served_model.py",
)  # fmt: skip
_REQUIREMENTS = ("jaxtyping", "mlflow", "numpy", "pandas", "pydantic", "safetensors", "scipy", "torch")


def register_model(
    models: VersionModels,
    evaluation: dict[str, Any],
    config: Tracking,
    tags: dict[str, str] | None = None,
    files: dict[str, dict[str, Any]] | None = None,
    run_id: str | None = None,
) -> dict[str, Any]:
    """`model, version, alias, run_id, uri` of the new version, which has its head and tail metrics as tags.

    `tags` are added to those; `files` are stored as JSON with the MLflow run `run_id`, a new one by default. The
    version is created last, with all tags at once, so a version that exists is complete even if a run is killed. One
    tag is the digest of its files in the artifact store, which is checked before they are used (`digest.py`).

    Stored are `served_model.py` (models-from-code), the part of this package that it needs, safetensors and JSON of
    both models, and the hashes of the users. Loading needs neither this project nor its configuration.
    """
    from importlib.metadata import version as installed

    import mlflow
    from mlflow.entities import LoggedModelOutput

    # MLflow takes the signature from the type hints of `served_model.py`, and that of the parameters from these values.
    model = models.served
    example = ([{"history": model.item_ids[:3].tolist()}], {"k": 10, "exclude_seen": model.exclude_seen})
    client = tracking.connect(config)
    if run_id is None:
        with mlflow.start_run() as started:
            run_id = started.info.run_id
    run = client.get_run(run_id)
    with tempfile.TemporaryDirectory() as folder:
        artifacts = {}
        for name, saved in ((SERVED, models.served), (JUDGED, models.judged)):
            if saved is not None:
                artifacts[name] = str(place := Path(folder, name))
                place.mkdir()
                saved.save(place)
        if models.users is not None:
            artifacts[USERS] = str(place := Path(folder, USERS))
            place.mkdir()
            save_users(models.users, place)
        # In an active run `log_model` would make all this itself, and ask the server for the history of each of the
        # run's several hundred metrics, one request after the other, to find those of the model.
        logged = mlflow.initialize_logged_model(
            "pinet", run_id, params=run.data.params, experiment_id=run.info.experiment_id
        )
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        client.log_batch(run_id, metrics=metrics_of(evaluation, logged.model_id))
        info = mlflow.pyfunc.log_model(
            model_id=logged.model_id,
            python_model=str(_PACKAGE / "serving" / "served_model.py"),
            artifacts=artifacts,
            code_paths=[str(_copy_serving_code(Path(folder, "pinet_kedro")))],
            input_example=example,
            pip_requirements=[f"{name}=={installed(name).split('+')[0]}" for name in _REQUIREMENTS],
        )
        for name, content in (files or {}).items():
            mlflow.log_dict(content, name, run_id=run_id)
        downloaded = Path(folder, "stored")  # a separate folder, because the digest covers everything in it
        downloaded.mkdir()
        stored = listing(settle(Path(mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(downloaded)))))
        mlflow.log_text(stored, DIGEST, run_id=run_id)
    all_tags = {**_tags(evaluation, models.judged is not None), DIGEST: digest_of(stored), **(tags or {})}
    created = mlflow.register_model(info.model_uri, config.model, tags=all_tags)
    return challenge(config, str(created.version), run_id)


def _copy_serving_code(target: Path) -> Path:
    """Copies `_SERVING_CODE` of the package to this folder."""
    for name in _SERVING_CODE:
        source = _PACKAGE / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)
    return target


def challenge(config: Tracking, version: str, run_id: str) -> dict[str, Any]:
    """Sets the alias `challenger` to a registered version and returns what `register_model` returns."""
    import mlflow

    mlflow.MlflowClient().set_registered_model_alias(config.model, ALIAS, version)
    return {
        "model": config.model,
        "version": version,
        "alias": ALIAS,
        "run_id": run_id,
        "uri": f"models:/{config.model}@{ALIAS}",
    }


def _tags(evaluation: dict[str, Any], refitted: bool) -> dict[str, str]:
    newest = evaluation["data"]["newest_event"]
    tags = {f"data.{what}": str(evaluation["data"][what]) for what in ("sha256", "users", "items", "events")}
    tags |= {LEARNT_UNTIL[SERVED]: str(newest["training"])}
    tags |= _metrics(evaluation, "")
    if refitted:
        tags |= {LEARNT_UNTIL[SERVED]: str(newest["all"]), LEARNT_UNTIL[JUDGED]: str(newest["before_test"])}
        tags |= _metrics(evaluation["as_shipped"], "as_shipped.")
    return tags


def _metrics(reading: dict[str, Any], prefix: str) -> dict[str, str]:
    pin, gains = reading["models"]["pin"], reading["comparisons"]["pin_vs_base"]
    tags = {}
    for group in (group for group in ("head", "tail") if group in pin):  # a group may have no test targets
        tags[f"{prefix}{group}.ndcg_at_10"] = f"{pin[group]['ndcg_at_10']:.6f}"
        gain = gains[group]["ndcg_at_10"]["relative"]
        tags[f"{prefix}{group}.gain_over_base"] = "undefined" if gain is None else f"{gain:+.6f}"
    return tags
