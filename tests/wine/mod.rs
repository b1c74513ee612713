//! Runs the Windows program under Wine, for integration tests on a Unix machine.
//!
//! [`windows_program`] finds `echo-tester.exe`, prepares a Wine prefix and the one missing DLL, and makes commands. A
//! test that gets `None` has nothing to test and returns; the reason was printed on stderr. If
//! `ECHO_TESTER_REQUIRE_WINE=1` is set, as `scripts/test` does after it has built the program, and CI too, a missing
//! part fails the test instead.
//!
//! The prefix lies in the target folder. It is made once, under a lock, because test processes may race for it. Wine's
//! loader replaces itself with the program, so a child's process id is that of the Windows program:
//! [`std::process::Child::kill`] ends it, and SIGINT reaches it as Ctrl-C (seen on Wine 8.0, where SIGTERM just kills).
//!
//! This file must not build the Rust program: a test that compiles hides how slow it is, and would wait for cargo's
//! lock. Sources: wine(1), wineserver(1), the Wine user's guide (`WINEPREFIX`, `WINEDLLOVERRIDES`), mingw's gcc.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// Names an `echo-tester.exe` to test instead of the one in the target folder.
const EXE_VARIABLE: &str = "ECHO_TESTER_WINDOWS_EXE";
/// Names a Wine prefix to use instead of the one in the target folder: one Wine spoils that of another.
const PREFIX_VARIABLE: &str = "TEST_WINEPREFIX";
/// Set to `1` if the tests under Wine must run. A missing part is then a failure, not a skip.
const REQUIRE_VARIABLE: &str = "ECHO_TESTER_REQUIRE_WINE";
/// The C compiler for the DLL. It has this name on Debian, Ubuntu, Fedora and Arch.
const MINGW_GCC: &str = "x86_64-w64-mingw32-gcc";
/// The DLL that Rust's standard library imports and Wine 8 lacks.
const SHIM: &str = "bcryptprimitives.dll";
/// No desktop menus in the user's home folder, and no offer to download Mono or Gecko. No debugger either: under Wine 8
/// a program that crashed and was shown to the debugger ends with another exit code, even with 0.
const DLL_OVERRIDES: &str = "winemenubuilder.exe,winedbg.exe,mscoree,mshtml=d";

/// The Windows program, with everything in place that it needs to start under Wine.
pub(crate) struct WinExe {
    exe: PathBuf,
    prefix: PathBuf,
}

/// Returns the Windows program, or prints the reason and returns `None`. Panics instead if Wine is required.
pub(crate) fn windows_program() -> Option<WinExe> {
    match WinExe::locate() {
        Ok(program) => Some(program),
        Err(reason) if std::env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1") => {
            panic!("{REQUIRE_VARIABLE}=1, but the Windows program cannot be tested here: {reason}")
        }
        Err(reason) => {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            // Written to the descriptor, because libtest captures the print macros, and a skip must be seen.
            let line = format!("\nSKIPPED {test}: not tested under Wine: {reason}\n");
            io::stderr().write_all(line.as_bytes()).expect("stderr can be written");
            None
        }
    }
}

impl WinExe {
    /// Finds the program and prepares Wine for it. The error says what is missing and what to do about it.
    ///
    /// # Errors
    /// No Wine, no exe, no mingw for the DLL, or an exe that is older than its sources.
    pub(crate) fn locate() -> Result<WinExe, String> {
        for tool in ["wine", "wineboot", "wineserver"] {
            find_on_path(tool).ok_or_else(|| format!("no '{tool}' on the PATH: run scripts/test, or install Wine"))?;
        }
        let exe = match std::env::var_os(EXE_VARIABLE) {
            Some(path) => PathBuf::from(path),
            None => target_dir().join("x86_64-pc-windows-gnu/debug/echo-tester.exe"),
        };
        let build = "run scripts/test, or 'cargo build --target x86_64-pc-windows-gnu'";
        let built = modified(&exe).map_err(|error| format!("no {}: {error}: {build}", exe.display()))?;
        if std::env::var_os(EXE_VARIABLE).is_none() {
            let changed =
                newest_source(&exe).map_err(|error| format!("its sources cannot be read: {error}: {build}"))?;
            if built < changed {
                return Err(format!("{} is older than the sources: {build}", exe.display()));
            }
        }
        let prefix = std::env::var_os(PREFIX_VARIABLE).map_or_else(|| target_dir().join("wine"), PathBuf::from);
        let program = WinExe { exe, prefix };
        program.prepare().map_err(|error| format!("Wine cannot be prepared: {error}"))?;
        Ok(program)
    }

    /// A command that runs `echo-tester.exe` with `args` under Wine, without a display and with an empty stdin.
    ///
    /// The caller chooses stdout and stderr, and must end the process that it spawns.
    pub(crate) fn command<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = wine_command("wine", &self.prefix);
        command.arg(&self.exe).args(args);
        command
    }

    /// A command whose process crashes as soon as it asks for random bytes. Wine 10 brings that DLL along, so the one
    /// here has to be asked for.
    pub(crate) fn crashing_command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.command(args);
        command.env("CRASH_IN_RANDOM", "1").env("WINEDLLOVERRIDES", format!("{DLL_OVERRIDES};bcryptprimitives=n"));
        command
    }

    /// What `wine --version` says: `wine-8.0 (Debian 8.0~repack-4)`.
    ///
    /// # Errors
    /// Wine can't be started.
    pub(crate) fn version(&self) -> io::Result<String> {
        let output = wine_command("wine", &self.prefix).arg("--version").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Makes the DLL beside the exe, and the prefix. The first process makes them once for all.
    fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(target_dir())?;
        let lock = File::create(target_dir().join("wine.lock"))?;
        lock.lock()?;
        self.build_shim()?;
        self.make_prefix()
    }

    fn build_shim(&self) -> io::Result<()> {
        let source = manifest_dir().join("tests/wine/bcryptprimitives.c");
        let dll = self.exe.with_file_name(SHIM);
        if modified(&dll).is_ok_and(|built| modified(&source).is_ok_and(|changed| built >= changed)) {
            return Ok(());
        }
        // Made under another name and then renamed, so that a program that starts meanwhile never sees half a DLL.
        let unfinished = self.exe.with_file_name("bcryptprimitives.unfinished");
        let mut gcc = Command::new(MINGW_GCC);
        gcc.args(["-shared", "-O1", "-Wall", "-Wextra", "-Werror", "-s", "-o"]);
        gcc.arg(&unfinished).arg(&source).arg("-ladvapi32");
        run(&mut gcc)?;
        fs::rename(&unfinished, &dll)
    }

    /// Takes about 10 seconds and 700 MB the first time, and nothing after that.
    fn make_prefix(&self) -> io::Result<()> {
        let made = self.prefix.join("made-for-echo-tester");
        if made.exists() {
            return Ok(());
        }
        if self.prefix.exists() {
            // An earlier attempt was interrupted, and half a prefix fails in odd ways.
            fs::remove_dir_all(&self.prefix)?;
        }
        fs::create_dir_all(&self.prefix)?;
        run(wine_command("wineboot", &self.prefix).arg("--init"))?;
        // The wineserver writes the registry to disk when it ends, which happens when nothing runs any more.
        run(wine_command("wineserver", &self.prefix).arg("--wait"))?;
        File::create(made).map(drop)
    }
}

/// A command that runs one of Wine's programs in a prefix, quietly, without a display and with an empty stdin.
fn wine_command(program: &str, prefix: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("WINEPREFIX", prefix)
        .env("WINEDEBUG", "-all")
        .env("WINEDLLOVERRIDES", DLL_OVERRIDES)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end. An error contains what the program printed on stderr.
fn run(command: &mut Command) -> io::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{name}: {}: {}", output.status, said.trim())))
}

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The target folder, wherever `CARGO_TARGET_DIR` puts it. Cargo tells tests the folder `tmp` in it.
fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("CARGO_TARGET_TMPDIR is a folder in the target folder")
}

fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// When the newest source of the program was changed. Cargo lists the sources beside the exe (`echo-tester.d`, with
/// lines `exe: source source …`, in which `\ ` is a space in a path). It does not list the sources of other systems.
fn newest_source(exe: &Path) -> io::Result<SystemTime> {
    let list = fs::read_to_string(exe.with_extension("d"))?;
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources).replace("\\ ", "\0");
    let mut newest = SystemTime::UNIX_EPOCH;
    for source in sources.split_whitespace() {
        newest = newest.max(modified(Path::new(&source.replace('\0', " ")))?);
    }
    Ok(newest)
}
