"""Preparation of logs larger than memory: the rules of `interactions` as Ibis expressions, on an engine.

The raw files are read by the readers of `interactions`, block by block, so that an id, a time and a refusal are the
same on every engine. From there on tables live in the engine; what comes out is what `interactions` gives. Needs the
extra `scale`; nothing else imports Ibis or an engine. Batch inference on Spark is here as well.
"""
