"""Each fault of ``tests/test_faults.py`` many times: ``python benchmarks/faults.py``.

Full and read-only disks, bad mirrors, signals at random moments. The tests hold the faults and
judge what comes of them; this runs them with more tries, prints a table of what they note, and
writes it as JSON. It needs the extra ``test``; without the right to mount a disk, the faults of
disks that need one are left out.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import print_machine, save

ROOT = Path(__file__).parents[1]


def run_tests(tries: int, results: Path) -> None:
    """Run the tests of faults, so many times each, and write their results as XML."""
    command = [sys.executable, "-m", "pytest", "tests/test_faults.py", "-m", "slow or not slow"]
    command += ["-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command += [f"--junitxml={results}", "-o", "junit_family=xunit1"]
    environment = os.environ | {"MNIST_FN_TRIES": str(tries), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment)
    if done.returncode not in (0, 1):  # 1: some failed, which the table will say
        sys.exit("the tests of faults cannot be run: see above")


def rows(results: Path) -> Iterator[dict[str, Any]]:
    """Yield what the tests noted, and what failed or was left out."""
    for case in ET.parse(results).iter("testcase"):
        noted = {item.attrib["name"]: item.attrib["value"] for item in case.iter("property")}
        name = case.attrib["name"]
        wrong = [*case.iter("failure"), *case.iter("error")]
        if wrong:
            yield {"fault": name, "tries": 0, "lost": wrong[0].attrib["message"], "told": ""}
        for skip in case.iter("skipped"):
            print(f"left out: {name}: {skip.attrib['message']}\n")
        if noted and not wrong:
            yield {
                "fault": noted["fault"],
                "tries": int(noted["tries"]),
                "lost": "nothing",
                "told": noted["told"],
            }


def main() -> None:
    """Run the tests and print the table."""
    parser = argparse.ArgumentParser(description="Faults, and what they cost.")
    parser.add_argument("--tries", type=int, default=25, help="how often each is tried")
    parser.add_argument("--quick", action="store_true", help="twice each, and no files")
    arguments = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory, "results.xml")
        run_tests(2 if arguments.quick else arguments.tries, results)
        table = list(rows(results))
    print("\n| fault | tried | lost | what the user is told |\n|---|---|---|---|")
    for row in table:
        lost = row["lost"].partition("\n")[0]
        print(f"| {row['fault']} | {row['tries']} | {lost} | {row['told']} |")
    print(f"\n{sum(row['tries'] for row in table)} tries in all")
    if not arguments.quick:
        save(__file__, table)
    if any(row["lost"] != "nothing" for row in table):
        sys.exit("something was lost, or not as it should be: see above")


if __name__ == "__main__":
    main()
