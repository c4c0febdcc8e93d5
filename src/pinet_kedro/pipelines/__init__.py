"""Kedro pipelines, one folder each; their nodes are thin adapters of the method."""
