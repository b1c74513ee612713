"""Writes the table of proxies between its marks in a page. Judges nothing."""

import re
from pathlib import Path

import table
from program import Program

BEGIN, END = "<!-- proxies -->", "<!-- /proxies -->"


def write(page: Path, programs: list[Program], results: dict) -> str:
    """Returns what was done, for the terminal: without such a page, that is the table itself."""
    text = "\n".join([BEGIN, *lines(programs, results), END])
    if not page.is_file():
        return f"{text}\n{page} is not there, so the table is only printed"
    old = page.read_text()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return f"{text}\n{page} has no marks {BEGIN} and {END}, so the table is only printed"
    page.write_text(before + text + after)
    return f"wrote {page}"


def lines(programs: list[Program], results: dict) -> list[str]:
    tried = [(program, results[program.name]) for program in programs if is_tried(results.get(program.name, {}))]
    rows = ["| program | version | by an echo: passed | not passed | both ends ours: passed | not passed | of |",
            "| --- | --- | ---: | --- | ---: | --- | --- |"]
    for program, ways in tried:
        known = [ways[way] for way in ("both", "echo") if ways.get(way, {}).get("cases")]
        columns = [program.title, table.cell(known[0]["version"]), *of_way(ways.get("echo", {})),
                   *of_way(ways.get("both", {})), known[0]["date"]]
        rows.append(f"| {' | '.join(columns)} |")
    rows += explanations(tried)
    skipped = [(program, results[program.name]) for program in programs
               if program.name in results and not is_tried(results[program.name])]
    if skipped:
        rows += ["", "Not tried:", ""]
        rows += [f"- {program.title}: {table.cell(next(iter(ways.values()))['skipped'])}." for program, ways in skipped]
    return rows


def is_tried(ways: dict) -> bool:
    return any(way.get("cases") for way in ways.values())


def of_way(result: dict) -> list[str]:
    """How many cases passed, and which did not; those that passed once too stand in parentheses."""
    if not result.get("cases"):
        return ["–", table.cell(result.get("skipped", "not tried"))]
    failed = table.failures(result)
    named = [f"({id})" if table.ending(case) in (table.SOMETIMES, table.UNTOLD) else id for id, case in failed.items()]
    return [str(table.counts(result)[0]), " ".join(named) or "–"]


def explanations(tried: list[tuple[Program, dict]]) -> list[str]:
    """Each reason once, with the cases with both ends ours that it fails. The echo's are explained in docs/field.md."""
    rows = ["", "| program | cases | found | why |", "| --- | --- | --- | --- |"]
    for program, ways in tried:
        by_reason: dict[str, dict[str, dict]] = {}
        for id, case in table.failures(ways.get("both", {})).items():
            by_reason.setdefault(program.explanation(id) or "**not explained**", {})[id] = case
        for why, cases in by_reason.items():
            kinds = sorted({kind for case in cases.values() for kind in kinds_of(case["found"])})
            rows.append(f"| {program.title} | {' '.join(cases)} | {', '.join(kinds)} | {table.cell(why)} |")
    return rows if len(rows) > 3 else []


def kinds_of(found: str) -> list[str]:
    """The kinds of finding, or the expectation that was missed: '2 × reset; passed == 4: it was 2' is 'reset'."""
    return re.findall(r"× ([\w-]+)", found) or [table.cell(found)]
