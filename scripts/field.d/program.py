"""One program of the field test, as its TOML file describes it. Knows names and texts; starts nothing."""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path


class Skip(Exception):
    """The program cannot be tried here; the text says why."""


@dataclass
class Program:
    """The keys of programs/NAME.toml.

    In 'build', 'start', 'version' and [files], @dir@ is the program's scratch folder, @examples@ the folder of the
    example servers, @venv@ the Python environment, @port@ the port that is tested, @port2@ … further free ports, and
    @backend@ the port of an 'echo-tester serve' behind a proxy, which runs only if the text names it. 'via' is the value of --via for a
    proxy that is asked for each target: then the suite's target is @backend@ itself.

    The keys of [why] are what its text explains: ids of cases, or names of reasons.toml, with blanks between them. A name
    stands for the cases of that reason, and its text follows the program's own. The first key with a case explains it.
    """

    name: str
    title: str
    kind: str
    start: list[str]
    version: str
    apt: list[str] = field(default_factory=list)
    unpack: list[str] = field(default_factory=list)
    pip: list[str] = field(default_factory=list)
    npm: list[str] = field(default_factory=list)
    cargo: dict[str, str] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)
    via: str = ""
    build: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    note: str = ""
    why: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, dict[str, str]] = field(default_factory=dict)
    examples: Path = Path()
    directory: Path = Path()

    def texts(self) -> list[str]:
        return [*self.start, *self.files.values(), self.via]

    def ports(self) -> list[str]:
        """The names of the ports that the program listens on, without the backend's."""
        return sorted({name for text in self.texts() for name in re.findall(r"@(port\d*)@", text)})

    def has_backend(self) -> bool:
        return bool(self.via) or any("@backend@" in text for text in self.texts())

    def fill(self, text: str, ports: dict[str, int]) -> str:
        values = {"dir": self.directory, "examples": self.examples, "venv": self.directory / "venv", **ports}
        return re.sub(r"@(\w+)@", lambda found: str(values[found[1]]) if found[1] in values else found[0], text)

    def explanation(self, case: str) -> str | None:
        """Why this case fails."""
        for words, text in self.why.items():
            for word in words.split():
                shared = self.reasons.get(word)
                if word == case or shared and case in shared["cases"].split():
                    return f"{text} {shared['why']}" if shared else text
        return None


def load_all(folder: Path) -> list[Program]:
    kinds = {"server": 0, "proxy": 1, "tunnel": 2}
    reasons = tomllib.loads((folder / "reasons.toml").read_text())
    programs = []
    for file in sorted((folder / "programs").glob("*.toml")):
        try:
            keys = tomllib.loads(file.read_text())
            program = Program(name=file.stem, examples=folder / "examples", reasons=reasons, **keys)
        except (tomllib.TOMLDecodeError, TypeError) as error:
            raise SystemExit(f"{file}: {error}") from error
        for word in " ".join(program.why).split():
            if not word[0].isdigit() and word not in reasons:
                raise SystemExit(f"{file}: [why] names '{word}', which is not in reasons.toml")
        if program.kind not in kinds:
            raise SystemExit(f"{file}: kind is '{program.kind}'; it is one of {', '.join(kinds)}")
        programs.append(program)
    return sorted(programs, key=lambda program: (kinds[program.kind], program.name))
