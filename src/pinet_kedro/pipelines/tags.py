"""Tags of nodes."""

CHECK = "check"  # may end the run as one with nothing to do, before anything else is started (runs/work_start.py)
# Works on what is stored, whoever made it: a pipeline of such nodes accepts any source without --env (runs/lineage.py).
AS_STORED = "as_stored"
