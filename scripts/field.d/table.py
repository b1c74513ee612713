"""Keeps what was measured, and writes docs/field.md from it and from the explanations. Judges nothing."""

import json
from pathlib import Path

from program import Program

HEAD = """\
# Tried on programs of others

`echo-tester check` against {tried} echo servers, proxies and tunnels that other people wrote, as packages deliver them,
or behind a short example server in the usual style of a library (`scripts/field.d/examples/`). A proxy or tunnel stands
in front of `echo-tester serve`. Everything runs on loopback, with 16,384 descriptors allowed. The machine, of two
cores, had other work at times, so times are not compared.

The table is made by `scripts/field`; `scripts/field --list` lists the programs, `--only NAME` tries one. Do not edit
this page: measurements are in `scripts/field.d/results.json`, explanations in `scripts/field.d/programs/`.

A case that did not pass ran again. **Failed**: it failed each time. **Now and then**: it also passed, because the fault
depends on timing. **Inconclusive**: no run could tell. Each failure has an explanation below, found with
`scripts/field --probe`, which asks with plain sockets and shares no code with `echo-tester`.
"""
# The ways in which a case can end, as columns of the table.
PASSED, FAILED, SOMETIMES, UNTOLD = "passed", "failed", "now and then", "inconclusive"


def read_results(file: Path) -> dict:
    results = json.loads(file.read_text()) if file.is_file() else {}
    for result in results.values():  # OLD
        for case in result.get("cases", {}).values():
            if "runs" in case:
                r, f = case.pop("runs"), case.pop("failed")
                case["outcomes"] = ["fail"] * f + ["pass"] * (r - f)
                case.pop("outcome", None)
    return results


def write_results(file: Path, results: dict) -> None:
    file.write_text(json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def ending(case: dict) -> str:
    passes, fails = case["outcomes"].count("pass"), case["outcomes"].count("fail")
    if fails:
        return SOMETIMES if passes else FAILED
    return PASSED if passes else UNTOLD


def counts(result: dict) -> list[int]:
    endings = [ending(case) for case in result["cases"].values()]
    return [endings.count(column) for column in (PASSED, FAILED, SOMETIMES, UNTOLD)]


def how_often(case: dict) -> str:
    fails = case["outcomes"].count("fail")
    return f"{fails} of {len(case['outcomes'])}" if fails else UNTOLD


def in_short(result: dict) -> str:
    failed = [f"{id} ({how_often(case)}: {case['found']})" for id, case in failures(result).items()]
    words = [f"{count} {column}" for count, column in zip(counts(result), (PASSED, FAILED, SOMETIMES, UNTOLD))]
    return f"{result['version']}: {', '.join(words + failed)}"


def failures(result: dict) -> dict:
    """The cases that did not pass, those that no run could tell included."""
    return {id: case for id, case in result["cases"].items() if ending(case) != PASSED}


def write(file: Path, programs: list[Program], results: dict) -> None:
    tried = [(program, results[program.name]) for program in programs if "cases" in results.get(program.name, {})]
    skipped = [(program, results[program.name]["skipped"]) for program in programs
               if "skipped" in results.get(program.name, {})]
    parts = [HEAD.format(tried=len(tried)), *rows(tried), *explanations(tried)]
    if skipped:
        parts.append("\n## Not tried\n\n| program | why not |\n| --- | --- |")
        parts += [f"| {program.title} | {cell(reason)} |" for program, reason in skipped]
    file.write_text("\n".join(parts) + "\n")


def rows(tried: list[tuple[Program, dict]]) -> list[str]:
    lines = ["| program | version | kind | passed | failed | now and then | inconclusive | which | of |",
             "| --- | --- | --- | ---: | ---: | ---: | ---: | --- | --- |"]
    for program, result in tried:
        title = f"[{program.title}](#{program.name})" if failures(result) else program.title
        columns = [title, cell(result["version"]), program.kind, *map(str, counts(result)),
                   " ".join(failures(result)) or "–", result["date"]]
        lines.append(f"| {' | '.join(columns)} |")
    return lines


def explanations(tried: list[tuple[Program, dict]]) -> list[str]:
    lines = ["\n## What failed, and why"]
    for program, result in tried:
        if not failures(result):
            continue
        lines += [f'\n### <a id="{program.name}"></a>{program.title}\n']
        lines += [wrap(program.note) + "\n"] if program.note else []
        lines += ["| case | failed | found | why |", "| --- | --- | --- | --- |"]
        for id, case in failures(result).items():
            why = program.explanation(id) or "**not explained**"
            lines.append(f"| {id} {case['name']} | {how_often(case)} | {cell(case['found'])} | {cell(why)} |")
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
