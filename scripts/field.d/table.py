"""Keeps what was measured, and writes docs/field.md from it and from the explanations. Judges nothing."""

import json
import re
from pathlib import Path

from program import Program

HEAD = """\
# Tried on programs of others

`echo-tester check` against {tried} echo servers, proxies and tunnels that other people wrote, as packages deliver them,
or behind a short example server in the usual style of a library (`scripts/field.d/examples/`). A proxy or tunnel stands
in front of `echo-tester serve`. Everything runs on loopback, with 16,384 descriptors allowed. {cases} cases ran: those
that need `--long`, or a server that `check` starts, did not. A row of an earlier date is of the suite of that date. The
machine, of two cores, had much other work, so times are not compared.

The table is made by `scripts/field`; `scripts/field --list` lists the programs, `--only NAME` tries one. Do not edit
this page: measurements are in `scripts/field.d/results.json`, explanations in `scripts/field.d/programs/`. `echo-tester
check --list` and [conformance.md](conformance.md) tell what each case proves.

A case that did not pass ran again. *Failed* are cases of the grade *must* that failed each time: only they speak
against a program. *Weak* are those of the grade *should*. *Now and then*: it also passed, because the fault depends on
timing. *Inconclusive*: no run could tell. *Not judged*: the program can't be judged by the case (it has no IPv6
address, or takes no data with the SYN), or the case only measures. In the column *which*, **2.1** failed, 5.2 is weak,
and (5.4) failed now and then; a question mark stands for inconclusive. Each failure is explained below, found with
`scripts/field --probe`, which asks with plain sockets and shares no code with `echo-tester`.
"""
# The ways in which a case can end, as columns of the table.
PASSED, FAILED, WEAK, SOMETIMES, UNTOLD, ASIDE = (
    "passed", "failed", "weak", "now and then", "inconclusive", "not judged"
)
ENDINGS = (PASSED, FAILED, WEAK, SOMETIMES, UNTOLD, ASIDE)


def read_results(file: Path) -> dict:
    return json.loads(file.read_text()) if file.is_file() else {}


def write_results(file: Path, results: dict) -> None:
    file.write_text(json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def ending(case: dict) -> str:
    outcomes = case["outcomes"]
    if "fail" in outcomes:
        return SOMETIMES if "pass" in outcomes else WEAK if case.get("grade") == "should" else FAILED
    if "pass" in outcomes:
        return PASSED
    return ASIDE if outcomes[-1] in ("unsupported", "info") else UNTOLD


def counts(result: dict) -> list[int]:
    endings = [ending(case) for case in result["cases"].values()]
    return [endings.count(column) for column in ENDINGS]


def how_often(case: dict) -> str:
    fails = case["outcomes"].count("fail")
    return f"{fails} of {len(case['outcomes'])}" if fails else UNTOLD


def in_short(result: dict) -> str:
    failed = [f"{id} ({how_often(case)}: {case['found']})" for id, case in failures(result).items()]
    words = [f"{count} {column}" for count, column in zip(counts(result), ENDINGS) if count]
    return f"{result['version']}, {result.get('seconds', 0)} s: {', '.join(words + failed)}"


def failures(result: dict) -> dict[str, dict]:
    """The cases that did not pass, those that no run could tell included, in the suite's order: 5.2 before 10.1."""
    failed = {id: case for id, case in result.get("cases", {}).items() if ending(case) not in (PASSED, ASIDE)}
    return dict(sorted(failed.items(), key=lambda item: [int(part) for part in re.findall(r"\d+", item[0])]))


def which(result: dict, text: str) -> set[str]:
    """The cases of --cases: those that did not pass, or those that are named."""
    return set(failures(result)) if text == "failed" else set(text.split()) & set(result.get("cases", {}))


def write(file: Path, programs: list[Program], results: dict) -> None:
    tried = [(program, results[program.name]) for program in programs if "cases" in results.get(program.name, {})]
    skipped = [(program, results[program.name]["skipped"]) for program in programs
               if "skipped" in results.get(program.name, {})]
    cases = max((len(result["cases"]) for _, result in tried), default=0)
    parts = [HEAD.format(tried=len(tried), cases=cases), *rows(tried), *explanations(tried)]
    if skipped:
        parts.append("\n## Not tried\n\n| program | why not |\n| --- | --- |")
        parts += [f"| {program.title} | {cell(reason)} |" for program, reason in skipped]
    file.write_text("\n".join(parts) + "\n")


def rows(tried: list[tuple[Program, dict]]) -> list[str]:
    lines = [f"| program | version | kind | {' | '.join(ENDINGS)} | which | of |",
             f"| --- | --- | --- |{' ---: |' * len(ENDINGS)} --- | --- |"]
    for program, result in tried:
        title = f"[{program.title}](#{program.name})" if failures(result) else program.title
        named = [marked(id, case) for id, case in failures(result).items()]
        columns = [title, cell(result["version"]), program.kind, *map(str, counts(result)),
                   " ".join(named) or "–", result["date"]]
        lines.append(f"| {' | '.join(columns)} |")
    return lines


def marked(id: str, case: dict) -> str:
    """The case with the marks that the page's head explains."""
    text = f"**{id}**" if case.get("grade") != "should" else id
    return {SOMETIMES: f"({text})", UNTOLD: f"{id}?"}.get(ending(case), text)


def explanations(tried: list[tuple[Program, dict]]) -> list[str]:
    """Each reason once for a program, with the cases that it fails."""
    lines = ["\n## What failed, and why"]
    for program, result in tried:
        by_reason: dict[str, list[str]] = {}
        for id, case in failures(result).items():
            text = f"{marked(id, case)} {case['name']}: {cell(case['found'])} ({how_often(case)})"
            untold = "The machine was too busy to tell." if ending(case) == UNTOLD else "**not explained**"
            by_reason.setdefault(program.explanation(id) or untold, []).append(text)
        if not by_reason:
            continue
        lines += [f'\n### <a id="{program.name}"></a>{program.title}\n']
        lines += [wrap(program.note) + "\n"] if program.note else []
        lines += ["| case: found (how often) | why |", "| --- | --- |"]
        lines += [f"| {'<br>'.join(cases)} | {cell(why)} |" for why, cases in by_reason.items()]
    return lines


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def wrap(text: str) -> str:
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) >= 119:
            lines.append(line)
            line = ""
        line += (" " if line else "") + word
    return "\n".join([*lines, line])
