"""A program that serves versions of the model: MLflow's scoring server behind a guard.

`serving/supervisor.py` starts it by its path (`__main__.py`). It imports nothing else of `pinet_kedro`, so the version
loads its own copy of the package, whatever code the project has by now. Hence the relative imports in this folder.

- `protocol`: uvicorn's HTTP protocol with deadlines; silent or slow clients lose only their own connections.
- `guard`: refuses malformed and oversized requests with a 4xx status and one sentence.
- `body`: parses and checks the body of a request; accepts MLflow's table formats.
- `description`: the same, for readers: `/openapi.json` and `/docs`.
- `batching`: answers requests that arrive at the same time with one call of the model.
- `arms`: the version of each user, where two are served side by side.
- `own_code`: two versions in one process, each with its own copy of the package.
- `answer_log`: what was recommended to whom, in files of bounded size.
- `metrics`: counters of all workers, for Prometheus.
- `server`: loads the versions and runs the server.
"""
