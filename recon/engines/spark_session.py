"""The Spark session that recon runs in: the user's, or one of its own on this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from recon.engines.shape import is_installed
from recon.errors import UsageError

#: Where one of these is set, Spark was told elsewhere what its master is.
_TOLD_ELSEWHERE = ("PYSPARK_GATEWAY_PORT", "PYSPARK_SUBMIT_ARGS", "SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED")


def session_here() -> Any:
    """The active session, unchanged; without one a new one, on all cores of this machine unless Spark was told of another master.

    Raises
    ------
    UsageError
        If Spark or Java isn't installed.
    """
    if not is_installed("pyspark"):
        raise UsageError(
            "the engine 'spark' needs PySpark, which isn't installed.",
            hint="Install it: pip install 'recon-optout[spark]', and Java 17 or newer; or take the engine auto.",
        )
    from pyspark import SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    running = SparkContext._active_spark_context is not None  # noqa: SLF001 - there is no other way to ask without starting one
    if running or any(name in os.environ for name in _TOLD_ELSEWHERE):
        return SparkSession.builder.getOrCreate()
    _find_java()
    # Without it Spark looks its own name up, which may take many seconds, and may listen to the network.
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    cores = os.cpu_count() or 1
    builder = SparkSession.builder.master("local[*]").appName("recon")
    for name, value in {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.log.level": "ERROR",
        # Where in Python an expression was written is asked for and sent to Java with every one: half of all calls, and our errors don't tell it.
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.session.timeZone": "UTC",
        # One machine: more parts than cores only cost.
        "spark.sql.shuffle.partitions": str(cores),
        # Anything that Spark leaves goes where the machine clears up.
        "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir()) / "recon-spark-warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise UsageError(
            "the engine 'spark' needs Java 17 or newer, and Java didn't start; what it said stands above.",
            hint="Let JAVA_HOME name such a Java runtime, or take the engine auto.",
        ) from error


def _find_java() -> None:
    """Refuse to start without Java; PySpark itself says little about that."""
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") or (home and (Path(home) / "bin" / "java").exists()):
        return
    raise UsageError(
        "the engine 'spark' needs Java 17 or newer, which is neither on the PATH nor in JAVA_HOME.",
        hint="Install a Java runtime (like openjdk-17-jre-headless), or take the engine auto.",
    )
