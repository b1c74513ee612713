//! Completions in the real shells: what the tab key makes of the beginning of a command line. A shell that is not
//! installed is skipped, with the reason; with `ECHO_TESTER_REQUIRE_SHELLS=1` that fails.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::program::{finish, said, text};
use crate::shell::Folder;

/// The words before the cursor, and what the last one becomes.
const COMPLETED: &[(&str, &str)] = &[
    ("bl", "blast"),
    ("blast --keepal", "--keepalive"),
    ("blast --close half-close-r", "half-close-reset"),
    ("check --filt", "--filter"),
    ("compare --round", "--rounds"),
    ("serve --idle", "--idle-timeout"),
    ("completions fi", "fish"),
    ("serve --model tok", "tokio"),
    ("check --model tok", "tokio"),
    ("models tok", "tokio"),
];

/// The completions for this shell in a file, if the shell is here.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn script(shell: &str, folder: &Folder) -> Option<PathBuf> {
    let is_here = Command::new(shell).arg("--version").stdout(Stdio::null()).status().is_ok_and(|it| it.success());
    if !is_here {
        let is_required = std::env::var_os("ECHO_TESTER_REQUIRE_SHELLS").is_some_and(|value| value == "1");
        assert!(!is_required, "ECHO_TESTER_REQUIRE_SHELLS=1, but {shell} is not installed");
        println!("SKIPPED: completions in {shell}, which is not installed");
        return None;
    }
    let (code, script, err) = said(&["completions", shell]);
    assert_eq!((code, err.as_str()), (0, ""));
    let path = folder.path().join(format!("completions.{shell}"));
    std::fs::write(&path, script).expect("the folder is writable");
    Some(path)
}

/// What a shell prints that runs this program of its own.
fn run(shell: &str, args: &[&str], program: &str) -> String {
    let mut command = Command::new(shell);
    command.args(args).arg(program).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(command.spawn().expect("the shell starts"), args);
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn in_bash() {
    let folder = Folder::with(&[]);
    let Some(script) = script("bash", &folder) else { return };
    for (typed, expected) in COMPLETED {
        let words: Vec<&str> = typed.split(' ').collect();
        let before = if words.len() > 1 { words[words.len() - 2] } else { "echo-tester" };
        // What readline does when the tab key is pressed: it asks the function that is registered for the program.
        let program = format!(
            "source {}; registered=$(complete -p echo-tester); registered=${{registered##* -F }}; \
             COMP_WORDS=(echo-tester {typed}); COMP_CWORD={}; ${{registered%% *}} echo-tester {} {before}; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.len(),
            words[words.len() - 1],
        );
        let offered = run("bash", &["--noprofile", "--norc", "-c"], &program);
        assert_eq!(offered.trim(), *expected, "{typed}");
    }
}

#[test]
fn in_fish() {
    let folder = Folder::with(&[]);
    let Some(script) = script("fish", &folder) else { return };
    for (typed, expected) in COMPLETED {
        let program = format!("source {}; complete --do-complete 'echo-tester {typed}'", script.display());
        let offered = run("fish", &["--no-config", "-c"], &program);
        let words: Vec<&str> = offered.lines().filter_map(|line| line.split('\t').next()).collect();
        assert!(words.contains(expected), "{typed}: {offered}");
    }
}

#[test]
fn in_zsh() {
    let folder = Folder::with(&[]);
    let Some(script) = script("zsh", &folder) else { return };
    for (typed, expected) in COMPLETED {
        // A shell in a terminal of its own, in which the tab key is pressed. The function shows what the line became.
        let program = format!(
            "zmodload zsh/zpty; zpty shell zsh -f -i; \
             zpty -w shell 'PROMPT= RPROMPT= ; unset zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; \
             source {}; echo-tester() {{ print -r -- \"<$*>\" }}; print ready'; \
             zpty -r -m shell out '*\nready*'; \
             zpty -w shell $'echo-tester {typed}\\t'; zpty -r -m shell out '*<[a-z]*>*'; print -r -- $out; zpty -d",
            script.display(),
        );
        let shown = run("zsh", &["-f", "-c"], &program);
        let line = shown.rsplit('<').next().and_then(|rest| rest.split('>').next()).unwrap_or_default();
        // It offers a flag with the '=' that may follow.
        let last = line.split(' ').next_back().unwrap_or_default().trim_end_matches('=');
        assert_eq!(last, *expected, "{typed}: {shown}");
    }
}
