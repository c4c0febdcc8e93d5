"""Adapters of `fitting.refit` to the catalog, with progress bars."""

from pinet_kedro.dataset import Dataset
from pinet_kedro.pipelines.types import BackboneChoice, NoModel, Recommender, TrainingStart
from pinet_kedro.registry.registration_config import Registration
from pinet_kedro.training.config import BackboneTraining


def plan_refit(
    config: BackboneTraining, registration: Registration, choice: BackboneChoice, start: TrainingStart | None = None
) -> dict[str, BackboneTraining]:
    """The trainings of a refit: short ones, like those of the models."""
    from pinet_kedro.fitting.refit import plan_refit

    return plan_refit(config if start is None else start.config, choice, registration.refit)


def refit_before_test(
    base: Recommender, pin: Recommender, dataset: Dataset, plan: dict[str, BackboneTraining]
) -> tuple[Recommender | NoModel, Recommender | NoModel]:
    """Base and PIN after they have learnt everything before the test part, for evaluation and for promotion."""
    from pinet_kedro.fitting.refit import before_test
    from pinet_kedro.recommender import NoModel

    again = _refit({"base": base, "pin": pin}, before_test(dataset), plan)
    none = NoModel("registration.refit is none")
    return again.get("base", none), again.get("pin", none)


def refit_on_everything(pin: Recommender, dataset: Dataset, plan: dict[str, BackboneTraining]) -> Recommender:
    """PIN after it has learnt the whole log: the model that ships. Without a refit it is PIN itself."""
    from pinet_kedro.fitting.refit import whole_log

    return _refit({"pin": pin}, whole_log(dataset), plan).get("pin", pin)


def _refit(
    models: dict[str, Recommender], learnt: Dataset, plan: dict[str, BackboneTraining]
) -> dict[str, Recommender]:
    from pinet_kedro.fitting.refit import rebuilt
    from pinet_kedro.pipelines.backbone_training.together import train_watched

    # No run records them: nothing is validated, and the loss would be taken for that of the model's training.
    planned = {name: plan[name] for name in models if name in plan}
    trained = train_watched(
        {f"{name}_refit": training for name, training in planned.items()},
        learnt,
        {f"{name}_refit": model.backbone for name, model in models.items()},
        run=None,
    )
    return {name: rebuilt(models[name], trained[f"{name}_refit"][0], learnt) for name in planned}
