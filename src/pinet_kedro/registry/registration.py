"""Registers the trained PIN in MLflow: with typed signature, self-contained, without pickles."""

import hashlib
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pinet_kedro
from pinet_kedro.datasets.manifests import MANIFEST_FILE
from pinet_kedro.registry.aliases import CHALLENGER, CHAMPION
from pinet_kedro.registry.digest import DIGEST, digest_of, listing, settle
from pinet_kedro.registry.loading import HELD_OUT, JUDGED, LEARNT_UNTIL, SERVED, VersionModels
from pinet_kedro.registry.model_card import ABOUT_ALL, LONGEST, MODEL_CARD, model_card
from pinet_kedro.registry.users import USERS, save_users
from pinet_kedro.registry.versions import UnreadableVersionError, fetch_version
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.recording import metrics_of

SERVING = "code.serving"  # tag of a version: hash of the code that is stored with it and answers
_OF_CODE = ("code.version", "code.git", "code.source")  # tags of a manifest; other code may train the same model
_PACKAGE = Path(pinet_kedro.__file__).parent
# The code that a version needs to answer: the method without its training, and the class that MLflow loads.
_SERVING_CODE = (
    "__init__.py", "activeness.py", "asking.py", "categories.py", "configuration.py", "dataset.py", "errors.py",
    "evidence.py", "explanation.py", "randomness.py", "recommender.py", "backbones", "interactions", "losses",
    "plugins", "reading", "retrieval", "serving/__init__.py", "serving/served_model.py",
)  # fmt: skip
_REQUIREMENTS = ("jaxtyping", "mlflow", "numpy", "pandas", "pydantic", "safetensors", "scipy", "torch")


def register_model(
    models: VersionModels,
    evaluation: dict[str, Any],
    config: Tracking,
    tags: dict[str, str] | None = None,
    files: dict[str, Any] | None = None,
    run_id: str | None = None,
) -> dict[str, Any]:
    """`model, version, alias, run_id, uri` of the new version, which has its model card as description.

    `tags` are added to those on its data, backbone and metrics; `files` are stored as JSON with the MLflow run
    `run_id`, a new one by default; a text under `MODEL_CARD` replaces the card. The version is created last, with all
    tags at once, so a version that exists is complete even if a run is killed. One tag is the digest of its files in
    the artifact store, which is checked before they are used (`digest.py`).

    Stored are `served_model.py` (models-from-code), the part of this package that it needs, safetensors and JSON of
    both models, and the hashes of the users. Loading needs neither this project nor its configuration.
    """
    from importlib.metadata import version as installed

    import mlflow
    from mlflow.entities import LoggedModelOutput

    # MLflow takes the signature from the type hints of `served_model.py`, and that of the parameters from these values.
    model = models.served
    all_tags = _all_tags(models, evaluation, tags or {})
    files = dict(files or {})
    card = files.pop(MODEL_CARD, None) or model_card(evaluation, files.get(MANIFEST_FILE, {}), model.exclude_seen)
    example = (
        [{"history": model.item_ids[:3].tolist()}],
        {"k": 10, "exclude_seen": model.exclude_seen, "explain": False},
    )
    needed = (*_REQUIREMENTS, *(("faiss-cpu",) if model.candidates else ()))
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
            pip_requirements=[f"{name}=={installed(name).split('+')[0]}" for name in needed],
        )
        for name, content in files.items():
            mlflow.log_dict(content, name, run_id=run_id)
        downloaded = Path(folder, "stored")  # a separate folder, because the digest covers everything in it
        downloaded.mkdir()
        stored = listing(settle(Path(mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(downloaded)))))
        mlflow.log_text(stored, DIGEST, run_id=run_id)
        client.log_text(run_id, card, MODEL_CARD)
    version = _create(config.model, info.model_uri, run_id, card, {**all_tags, DIGEST: digest_of(stored)})
    return challenge(config, version, run_id)


def register_once(
    models: VersionModels,
    evaluation: dict[str, Any],
    config: Tracking,
    tags: dict[str, str],
    files: dict[str, dict[str, Any]],
    run_id: str | None = None,
) -> dict[str, Any]:
    """As `register_model`, unless the same version exists: then that one, with `registered_before`.

    It is the same if all its tags but those of the code that trained it are, so weights, data, figures, settings of two
    stages and serving code, and if its files are intact. It becomes the challenger, unless it is the champion. The run
    gets the tag `same_as`.
    """
    mine = {key: value for key, value in _all_tags(models, evaluation, tags).items() if key not in _OF_CODE}
    client = tracking.connect(config)
    found = client.search_model_versions(f"name = '{config.model}' and tags.`data.sha256` = '{mine['data.sha256']}'")
    for version in sorted(found, key=lambda version: int(version.version), reverse=True):
        if mine.items() <= dict(version.tags).items() and _is_intact(str(version.version), config):
            if run_id is not None:
                client.set_tag(run_id, "same_as", f"{config.model} version {version.version}")
            champion = client.get_registered_model(config.model).aliases.get(CHAMPION)
            alias = CHAMPION if str(champion) == str(version.version) else CHALLENGER
            return challenge(config, str(version.version), version.run_id, alias) | {"registered_before": True}
    return register_model(models, evaluation, config, tags, files, run_id)


def _is_intact(version: str, config: Tracking) -> bool:
    with tempfile.TemporaryDirectory() as folder, suppress(UnreadableVersionError):
        fetch_version(version, config, Path(folder))
        return True
    return False


def _create(model: str, uri: str, run_id: str, card: str, tags: dict[str, str]) -> str:
    """The number of the new version of the model, which is created and described if there is none."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient()
    try:
        client.create_registered_model(model, description=ABOUT_ALL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        if not client.get_registered_model(model).description:
            client.update_registered_model(model, ABOUT_ALL)
    model_id = uri.removeprefix("models:/")
    created = client.create_model_version(model, uri, run_id, tags, description=card[:LONGEST], model_id=model_id)
    return str(created.version)


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


def challenge(config: Tracking, version: str, run_id: str | None, alias: str = CHALLENGER) -> dict[str, Any]:
    """Sets the alias of a registered version (the champion has it) and returns what `register_model` returns."""
    import mlflow

    if alias != CHAMPION:
        mlflow.MlflowClient().set_registered_model_alias(config.model, alias, version)
    return {
        "model": config.model,
        "version": version,
        "alias": alias,
        "run_id": run_id,
        "uri": f"models:/{config.model}@{alias}",
    }


def _all_tags(models: VersionModels, evaluation: dict[str, Any], tags: dict[str, str]) -> dict[str, str]:
    """All tags of a version but the digest of its files."""
    categories = models.served.categories
    own = {
        "backbone": models.served.backbone.config.name,
        SERVING: _serving_code(),
        "data.categories": categories.sha256[:12] if categories else "none",  # the stored model has none
        "two_stage": str(models.served.candidates or "none"),
    }
    if models.users is not None:  # the hash of the log does not depend on the users' ids
        own["data.user_ids"] = hashlib.sha256(models.users.tobytes()).hexdigest()[:12]
    if models.held_out is not None:
        own[HELD_OUT] = models.held_out
    return {**own, **_tags(evaluation, models.judged is not None), **tags}


def _serving_code() -> str:
    places = [_PACKAGE / name for name in _SERVING_CODE]
    files = [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return digest_of("".join(f"{file.relative_to(_PACKAGE)}\n{file.read_text(encoding='utf-8')}" for file in files))[
        :12
    ]


def _tags(evaluation: dict[str, Any], refitted: bool) -> dict[str, str]:
    data, newest = evaluation["data"], evaluation["data"]["newest_event"]
    named = ("name", "sha256", "users", "items", "events")
    tags = {f"data.{what}": str(data[what]) for what in named if what in data}
    seed = evaluation.get("protocol", {}).get("seed")
    tags |= {} if seed is None else {"seed": str(seed)}
    # Without a refit as well: the weights of the plugins were fitted on validation targets.
    before_test = str(newest["before_test"])
    tags |= {LEARNT_UNTIL[SERVED]: str(newest["all"]), LEARNT_UNTIL[JUDGED]: before_test} if refitted else {
        LEARNT_UNTIL[SERVED]: before_test
    }  # fmt: skip
    pin = evaluation["models"]["pin"]
    present = [group for group in ("all", "tail", "head") if group in pin]  # a group may have no test targets
    return tags | {f"{group}.ndcg_at_10": f"{pin[group]['ndcg_at_10']:.6f}" for group in present}
