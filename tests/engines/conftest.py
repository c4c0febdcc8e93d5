import importlib.util
import os
import shutil

import pytest

from pinet_kedro.engines.engine import EngineConfig


@pytest.fixture(scope="session")
def spark():
    """The settings of a session of Spark that all tests share: the engines of the project find it and leave it open.

    Skips the test where pyspark or Java is not installed, and fails it under PINET_NEEDS_SPARK.
    """
    java = os.environ.get("JAVA_HOME") or shutil.which("java")
    for what, found in (("pyspark", importlib.util.find_spec("pyspark")), ("Java", java)):
        if not found:
            assert "PINET_NEEDS_SPARK" not in os.environ, f"{what} is not installed"
            pytest.skip(f"{what} is not installed: make test-spark")
    from pinet_kedro.engines.spark import Session

    config = EngineConfig(name="spark", master="local[2]", memory="1GB", partitions=3)
    session = Session(config)
    yield config
    session.close()
