"""Runs 'echo-tester check' against a program, and runs the failed cases again: one failure may be the machine's."""

import json
import re
import subprocess
from pathlib import Path

from launch import Running
from program import Program, Skip

# Outcomes of a case that say nothing about the program.
NEUTRAL = {"skipped", "unsupported", "info"}


def run_suite(
    tester: Path, running: Running, program: Program, again: int, limit: int, flags: list[str] | None = None
) -> dict:
    """Each case with its outcomes ('pass', 'fail', 'inconclusive') and what was found when it first did not pass.

    A program that has crashed is started again before a case runs again.
    """
    flags = [*running.via, *(flags or [])]
    report = check(tester, running.port, program, flags, [], limit)
    cases = {}
    for case in report["cases"]:
        if case["outcome"] not in NEUTRAL:
            cases[case["id"]] = {"name": case["name"], "outcomes": [outcome(case)]}
            if outcome(case) != "pass":
                cases[case["id"]]["found"] = found(case)
    for id, case in cases.items():
        while not is_settled(case["outcomes"], again):
            running.start_if_gone()
            rerun = check(tester, running.port, program, flags, ["--filter", f"{id} {case['name']}"], limit)["cases"]
            case["outcomes"] += [outcome(other) for other in rerun if other["id"] == id]
            if case["outcomes"][-1] == "fail" and "fail" not in case["outcomes"][:-1]:
                case["found"] = next(found(other) for other in rerun if other["id"] == id)
    tester_version = subprocess.run([tester, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {"tester": tester_version, "date": report_date(report), "cases": cases}


def outcome(case: dict) -> str:
    if any(reason.startswith("its server is not there") for reason in case["reasons"]):
        return "inconclusive"
    return case["outcome"] if case["outcome"] in ("pass", "inconclusive") else "fail"


def is_settled(outcomes: list[str], again: int) -> bool:
    """Passed without a failure, failed twice, or tried often enough."""
    fails = outcomes.count("fail")
    return fails == 2 or (fails == 0 and "pass" in outcomes) or len(outcomes) > again


def check(tester: Path, port: int, program: Program, flags: list[str], more: list[str], limit: int) -> dict:
    file = program.directory / "check.json"
    file.unlink(missing_ok=True)
    command = [str(tester), "check", f"127.0.0.1:{port}", "--quiet", f"--json={file}", *flags, *more]
    with (program.directory / "check.txt").open("a" if more else "w") as output:
        try:
            subprocess.run(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, timeout=limit, check=False)
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
