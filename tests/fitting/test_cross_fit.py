import numpy as np

from pinet_kedro.fitting import cross_fit
from pinet_kedro.plugins.config import PluginTraining

CONFIG = PluginTraining(folds=2, factors=None, memory_search=None)


def test_no_user_is_ranked_by_plugins_fitted_on_the_users_target(planted_world, joint_backbone, monkeypatch):
    w, fitted_on, ranked = planted_world, [], []

    def fit(backbone, dataset, *others):
        fitted_on.append(dataset.validation_users)
        return fit_plugins(backbone, dataset, *others)

    def build(dataset, *others):
        assert len(dataset.validation_users) < len(w.users)
        return build_scorers(dataset, *others)

    def rank(scorer, sequences, users, target_at, exclude_seen):
        np.testing.assert_array_equal(target_at, w.split.valid_at[users])
        ranked.append(users)
        return target_ranks(scorer, sequences, users, target_at, exclude_seen)

    fit_plugins, build_scorers, target_ranks = cross_fit.fit_plugins, cross_fit.build_scorers, cross_fit.target_ranks
    for name, spy in (("fit_plugins", fit), ("build_scorers", build), ("target_ranks", rank)):
        monkeypatch.setattr(cross_fit, name, spy)
    [ranks] = cross_fit.cross_fitted_ranks([joint_backbone], w.dataset, CONFIG)
    for seen, held in zip(fitted_on, ranked, strict=True):
        np.testing.assert_array_equal(np.sort(np.concatenate([seen, held])), w.users)
    np.testing.assert_array_equal(np.sort(np.concatenate(ranked)), w.users)
    assert np.isfinite(ranks.rank).all()
