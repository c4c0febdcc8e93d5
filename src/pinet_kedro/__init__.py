"""Sequential recommendation that also serves users with short histories (arXiv 2208.09130), as Kedro pipelines.

Where to find the ideas of the paper:

| idea | module | pipeline |
|---|---|---|
| activeness, its strata, the prior P(A) | `activeness`, `aggregation.priors` | `activeness_stratification` |
| stratum gradients, their deconfounded aggregation | `aggregation.{group_gradients,priors}` | `backbone_training` |
| the backbone, which learns what all users share | `backbones`, `losses`, `training.backbone` | `backbone_training` |
| plugin networks of head and tail users | `plugins`, `fitting.plugin` | `plugin_training` |
| the personalised, intervened network (PIN) | `recommender` | `plugin_training` |
| who gains, who loses | `evaluation`, `reporting` | `evaluation` |

The README has a map of all packages.
"""

__version__ = "0.1.0"
