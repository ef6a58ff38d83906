"""Metrics: names that say everything, pure functions, one sort per image. See ``names.METRICS``."""

from imdl_bench.metrics.names import METRICS, Metric, parse_metric

__all__ = ["METRICS", "Metric", "parse_metric"]
