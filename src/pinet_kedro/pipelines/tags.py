"""Tags of nodes."""

CHECK = "check"  # may end the run as one with nothing to do, before anything else is started (runs/work_start.py)
