"""Runs 'echo-tester check' against a program, and runs the failed cases again: one failure may be the machine's."""

import json
import re
import subprocess
import time
from pathlib import Path

from launch import Running, wait
from program import Program, Skip

# Outcomes of a case that are kept as they are; another one, such as the word for a missed threshold, is a failure.
OUTCOMES = {"pass", "inconclusive", "unsupported", "info", "skipped"}


def run_suite(
    tester: Path, running: Running, program: Program, again: int, limit: int, flags: list[str] | None = None
) -> dict:
    """Each case with its grade, its outcomes, and what was found when it first did not pass.

    A program that has crashed is started again before a case runs again.
    """
    flags = [*running.via, *(flags or [])]
    since = time.monotonic()
    report = check(tester, running, program, flags, [], limit)
    seconds = round(time.monotonic() - since)
    cases = {}
    for case in report["cases"]:
        cases[case["id"]] = {"name": case["name"], "grade": case["grade"], "outcomes": []}
        add(cases[case["id"]], case)
    run_again(tester, running, program, flags, cases, again, limit)
    # A case that needs --long is only seen as that while the server is there.
    cases = {id: case for id, case in cases.items() if "skipped" not in case["outcomes"]}
    asked = subprocess.run([tester, "--version"], capture_output=True, text=True, check=True)
    return {"tester": asked.stdout.strip(), "date": report_date(report), "seconds": seconds, "cases": cases}


def run_cases(
    tester: Path, running: Running, program: Program, before: dict, which: set[str], again: int, limit: int
) -> dict:
    """What was measured before, with these cases measured anew."""
    cases = {id: {"name": case["name"], "grade": case["grade"], "outcomes": []} if id in which else case
             for id, case in before["cases"].items()}
    run_again(tester, running, program, running.via, cases, again, limit)
    return {**before, "cases": cases}


def run_again(
    tester: Path, running: Running, program: Program, flags: list[str], cases: dict, again: int, limit: int
) -> None:
    for id, case in cases.items():
        while not is_settled(case["outcomes"], again):
            running.start_if_gone()
            report = check(tester, running, program, flags, ["--filter", f"{id} {case['name']}"], limit)
            add(case, next(other for other in report["cases"] if other["id"] == id))


def add(case: dict, ran: dict) -> None:
    """The first failure tells what was found; before that, the first run that could not tell."""
    word = outcome(ran)
    if word == "fail" and "fail" not in case["outcomes"] or word == "inconclusive" and "found" not in case:
        case["found"] = found(ran)
    case["outcomes"].append(word)


def outcome(case: dict) -> str:
    if any(reason.startswith(("its server is not there", "interrupted")) for reason in case["reasons"]):
        return "inconclusive"
    return case["outcome"] if case["outcome"] in OUTCOMES else "fail"


def is_settled(outcomes: list[str], again: int) -> bool:
    """Passed or set aside without a failure, failed twice, or tried often enough."""
    fails = outcomes.count("fail")
    is_told = not {"pass", "unsupported", "info", "skipped"}.isdisjoint(outcomes)
    return fails == 2 or (fails == 0 and is_told) or len(outcomes) > again


def check(tester: Path, running: Running, program: Program, flags: list[str], more: list[str], limit: int) -> dict:
    target = [f"127.0.0.1:{running.port}", f"--pid={running.pid}", *flags, *more]
    return report_of(tester, target, program.directory, limit, mode="a" if more else "w")


def report_of(tester: Path, target: list[str], folder: Path, limit: int, mode: str = "w") -> dict:
    """The report of 'echo-tester check' with these words. Report and output stay in the folder."""
    file = folder / "check.json"
    file.unlink(missing_ok=True)
    command = [str(tester), "check", *target, "--quiet", f"--json={file}"]
    with (folder / "check.txt").open(mode) as output:
        try:
            wait(subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL), limit)
        except subprocess.TimeoutExpired:
            raise Skip(f"the suite was not done after {limit} s") from None
    try:
        return json.loads(file.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise Skip(f"no report of the suite: {error}") from None


def found(case: dict) -> str:
    """The reasons in short: '32 × reset', else the expectation that was missed."""
    findings = [re.match(r"[\d,]+ × [\w-]+", reason) for reason in case["reasons"]]
    kinds = [match[0] for match in findings if match]
    others = [reason for reason in case["reasons"] if not reason.startswith(("verdict:", "load ")) and "×" not in reason]
    return "; ".join([*kinds, *others[:1 if kinds else 2]]) or "; ".join(case["reasons"]) or case["outcome"]


def report_date(report: dict) -> str:
    starts = [case["run"]["started_at"] for case in report["cases"] if case.get("run")]
    return min(starts, default="")[:10]
