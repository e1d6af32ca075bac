"""Makes the environment's own Spark ready for Delta: its configuration, and the Delta jars beside its own.

With the jars in place a session starts without asking a package registry for anything.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyspark

from llmrec.spark.session import DELTA_PACKAGE

DEFAULTS = """\
# Written by `make install` for this environment alone: plain `spark-submit jobs/score.py` works with it.
spark.sql.extensions io.delta.sql.DeltaSparkSessionExtension
spark.sql.catalog.spark_catalog org.apache.spark.sql.delta.catalog.DeltaCatalog
spark.pyspark.python {python}
# Short local jobs spend most of their time compiling; the quick compiler alone halves their CPU seconds. Alone it has
# room for 48 MB of code, in which a session of many jobs clears up without end.
spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC
"""

LOGGING = """\
# Only errors; the jobs print their own progress.
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex
"""


def main() -> None:
    """Write the configuration and fetch the jars that are missing."""
    home = Path(pyspark.__file__).parent
    (home / "conf").mkdir(exist_ok=True)
    (home / "conf" / "spark-defaults.conf").write_text(DEFAULTS.format(python=sys.executable), encoding="utf-8")
    (home / "conf" / "log4j2.properties").write_text(LOGGING, encoding="utf-8")
    if not list((home / "jars").glob(f"*delta-spark*{DELTA_PACKAGE.rsplit(':', 1)[1]}.jar")):
        _fetch_jars(home / "jars")


def _fetch_jars(jars: Path) -> None:
    with tempfile.TemporaryDirectory() as cache:
        script = Path(cache, "nothing.py")
        script.write_text("", encoding="utf-8")
        command = [
            str(jars.parent / "bin" / "spark-submit"),
            *("--packages", DELTA_PACKAGE, "--conf", f"spark.jars.ivy={cache}/ivy", str(script)),
        ]
        done = subprocess.run(
            command, env={**os.environ, "PYSPARK_PYTHON": sys.executable}, capture_output=True, text=True, check=False
        )
        # Ivy also brings what Spark has already, in other versions; only Delta's own jars are new.
        found = sorted(Path(cache, "ivy", "jars").glob("io.delta_*.jar"))
        if not found:
            sys.exit(f"Delta jars: {DELTA_PACKAGE} could not be fetched from Maven Central:\n{done.stderr[-2000:]}")
        for jar in found:
            shutil.copy(jar, jars / jar.name)


if __name__ == "__main__":
    main()
