"""Fetches what a program needs, by package name, with the ordinary clients, and builds it. Starts no server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from program import Program, Skip

# Installed packages must not start their services: the field test starts what it needs itself.
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
# Seconds for one install or build.
LIMIT = 900


def fetch(program: Program, scratch: Path, install: bool) -> None:
    apt(program.apt, install)
    unpack(program, install)
    pip(program, install)
    npm(program, install)
    for command in program.needs:
        if not shutil.which(command):
            raise Skip(f"no '{command}' on this machine")
    cargo(program, scratch, install)
    for command in program.build:
        call(["sh", "-ec", program.fill(command, {})], "build", cwd=program.directory)


def call(command: list[str], what: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a command and returns its output; a failure skips the program with the last line that it printed."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **(env or {})}, timeout=LIMIT, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )
    except subprocess.TimeoutExpired:
        raise Skip(f"{what}: not done after {LIMIT} s: {' '.join(command)}") from None
    except OSError as error:
        raise Skip(f"{what}: {error}") from None
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or ["no output"]
        errors = [line for line in lines if line.startswith(("E:", "error", "ERROR", "npm ERR", "npm error"))]
        raise Skip(f"{what} failed: {(errors or lines[-1:])[0].strip()}")
    return done.stdout


def is_installed(package: str) -> bool:
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, text=True,
                           check=False)
    return asked.stdout == "installed"


def apt(packages: list[str], install: bool) -> None:
    if packages and not shutil.which("dpkg-query"):
        raise Skip("not a Debian system, so no packages by these names")
    missing = [package for package in packages if not is_installed(package)]
    if not missing:
        return
    if not install:
        raise Skip(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        raise Skip(f"only root can install {', '.join(missing)}")
    call(["apt-get", "install", "-y", "--no-install-recommends", *missing], "apt-get", env=QUIET)


def unpack(program: Program, install: bool) -> None:
    """Unpacks packages that cannot be installed beside each other, such as the inetd family, into the scratch folder."""
    for package in program.unpack:
        mark = program.directory / f".unpacked-{package}"
        if mark.exists():
            continue
        if not install:
            raise Skip(f"not unpacked: {package}")
        call(["apt-get", "download", package], "apt-get", cwd=program.directory)
        archive = next(program.directory.glob(f"{package}_*.deb"))
        call(["dpkg", "-x", str(archive), str(program.directory)], "dpkg")
        mark.touch()


def pip(program: Program, install: bool) -> None:
    venv = program.directory / "venv"
    if not program.pip or (venv / ".complete").exists():
        return
    if not install:
        raise Skip(f"not installed: {', '.join(program.pip)}")
    call([sys.executable, "-m", "venv", str(venv)], "venv")
    call([str(venv / "bin/pip"), "install", "--quiet", *program.pip], "pip")
    (venv / ".complete").touch()


def npm(program: Program, install: bool) -> None:
    missing = [name for name in program.npm if not (program.directory / "node_modules" / name).is_dir()]
    if not missing:
        return
    if not install:
        raise Skip(f"not installed: {', '.join(missing)}")
    if not shutil.which("npm"):
        raise Skip("no 'npm' on this machine")
    call(["npm", "install", "--no-fund", "--no-audit", "--prefix", str(program.directory), *missing], "npm")


def cargo(program: Program, scratch: Path, install: bool) -> None:
    """Makes a package of one file from [cargo] and builds it; the program is @dir@/server."""
    if not program.cargo:
        return
    if not shutil.which("cargo"):
        raise Skip("no 'cargo' on this machine")
    (program.directory / "src").mkdir(exist_ok=True)
    write_if_other(program.directory / "src/main.rs", (program.examples / program.cargo["example"]).read_text())
    write_if_other(
        program.directory / "Cargo.toml",
        f'[package]\nname = "field-{program.name}"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n'
        f"[profile.dev]\nopt-level = 1\ndebug = false\n[dependencies]\n{program.cargo['dependencies']}\n",
    )
    target = scratch / "cargo-target"
    command = ["cargo", "build", "--quiet", "--target-dir", str(target)] + ([] if install else ["--offline"])
    call(command, "cargo", cwd=program.directory)
    server = program.directory / "server"
    server.unlink(missing_ok=True)
    server.symlink_to(target / f"debug/field-{program.name}")


def write_if_other(file: Path, text: str) -> None:
    """Leaves the time of an unchanged file alone, so that it is not built again."""
    if not file.is_file() or file.read_text() != text:
        file.write_text(text)


def version(program: Program) -> str:
    """The first line that the version command prints: the command is written so that this is the version alone."""
    try:
        command = f"{{ {program.fill(program.version, {})}; }} 2>/dev/null"
        lines = call(["sh", "-c", command], "version", cwd=program.directory).split("\n")
        return lines[0].strip() or "unknown"
    except Skip:
        return "unknown"
