"""Prediction networks on the frozen backbone, one per stratum of activeness (arXiv 2208.09130)."""
