//! Tips for words that people bring from other programs, or type in the wrong place: what to write here instead.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::without_password;
use crate::server::models;

/// What another program calls a flag, and what to write here. `{}` stands for the value.
struct Foreign {
    commands: &'static [&'static str],
    flags: &'static [&'static str],
    write: &'static str,
}

const FOREIGN_FLAGS: &[Foreign] = &[
    Foreign {
        commands: &["blast", "run", "check", "compare", "merge", "report", "serve", "models"],
        flags: &["--version", "-V"],
        write: "write echo-tester --version",
    },
    Foreign {
        commands: &["serve"],
        flags: &["--port", "-p", "--host", "--listen", "-l", "--address", "--addr"],
        write: "write --bind {}",
    },
    Foreign { commands: &["serve"], flags: &["--serve"], write: "write --model {}" },
    Foreign { commands: &["blast"], flags: &["--model", "-m"], write: "write --serve={}" },
    Foreign {
        commands: &["blast", "check"],
        flags: &["--target", "-t", "--host", "--connect", "--address", "--addr"],
        write: "write the target without a flag: {}",
    },
    Foreign { commands: &["check"], flags: &["--serve"], write: "write --model {}" },
    Foreign { commands: &["compare"], flags: &["--serve", "--model", "-m"], write: "write --models {}" },
    Foreign { commands: &["blast", "compare"], flags: &["--time", "--seconds"], write: "write --duration {}" },
    Foreign {
        commands: &["blast", "compare"],
        flags: &["--connections", "--clients", "--parallel"],
        write: "write --conns {}",
    },
    Foreign {
        commands: &["check", "run"],
        flags: &["--case", "--cases", "--only", "--test", "--name", "-k"],
        write: "write --filter {}",
    },
    Foreign { commands: &["blast", "compare", "serve"], flags: &["--threads"], write: "write --workers {}" },
];

/// Adds what to write instead to an error about the word that it names, if that is known.
pub(super) fn add(error: &mut clap::Error, words: &[OsString]) {
    let Some(ContextValue::String(invalid)) = error.get(ContextKind::InvalidArg) else { return };
    let texts: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let Some(command) = texts.get(1) else { return };
    match tip(command, invalid, &texts) {
        Some(tip) => set(error, tip),
        None => remove_useless(error),
    }
}

/// Takes away the tip to write `-- --flag`: no command has a value that begins with a hyphen.
fn remove_useless(error: &mut clap::Error) {
    let Some(ContextValue::StyledStrs(tips)) = error.get(ContextKind::Suggested) else { return };
    let useful: Vec<StyledStr> = tips.iter().filter(|tip| !tip.to_string().contains("as a value")).cloned().collect();
    match useful.is_empty() {
        true => error.remove(ContextKind::Suggested),
        false => error.insert(ContextKind::Suggested, ContextValue::StyledStrs(useful)),
    };
}

/// Hides the password of a proxy that an error would repeat.
pub(super) fn hide_password(error: &mut clap::Error) {
    let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else { return };
    let is_via = |arg: &ContextValue| matches!(arg, ContextValue::String(arg) if arg.starts_with("--via"));
    if error.get(ContextKind::InvalidArg).is_some_and(is_via) || value.contains("://") {
        let hidden = without_password(value);
        error.insert(ContextKind::InvalidValue, ContextValue::String(hidden));
    }
}

/// Makes this the only tip of an error. Usage goes too: it shows the flag that is spelt most alike.
pub(super) fn set(error: &mut clap::Error, tip: String) {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedValue, ContextKind::Usage] {
        error.remove(kind);
    }
}

fn tip(command: &str, invalid: &str, words: &[&str]) -> Option<String> {
    if !invalid.starts_with('-') {
        return word_tip(command, invalid);
    }
    let is_meant = |row: &&Foreign| row.commands.contains(&command) && row.flags.contains(&invalid);
    let row = FOREIGN_FLAGS.iter().find(is_meant)?;
    let mut pairs = words.iter().zip(words.iter().skip(1).chain([&""]));
    let value = pairs.find_map(|(word, next)| match word.strip_prefix(invalid)? {
        "" => Some(*next),
        rest => rest.strip_prefix('='),
    });
    let example = match row.write {
        write if write.contains("--bind") => "7777",
        write if write.contains("--model") || write.contains("--serve") => "auto",
        _ => "…",
    };
    let value = value.filter(|value| !value.is_empty() && !value.starts_with('-')).unwrap_or(example);
    Some(row.write.replace("{}", value))
}

/// The tip for a word that is no flag, of a command that takes none.
fn word_tip(command: &str, word: &str) -> Option<String> {
    let is_model = models::find(word).is_ok();
    let is_address = word.contains(':') || word.parse::<u16>().is_ok();
    match command {
        "serve" if is_model => Some(format!("write --model {word}")),
        "serve" if is_address => Some(format!("write --bind {word}")),
        "compare" if is_model => Some(format!("write --models {word}")),
        "compare" if is_address => Some(format!("write --target {word}")),
        _ => None,
    }
}

/// The word behind a flag that stands alone.
fn word_after<'w>(flag: &str, words: &'w [OsString]) -> Option<&'w OsString> {
    words.iter().skip_while(|word| *word != flag).nth(1)
}

/// The correct form of `--serve epoll`, where 'epoll' is parsed as a target.
pub(super) fn serve_without_equals(words: &[OsString]) -> Option<String> {
    let model = word_after("--serve", words)?;
    let model = model.to_str().filter(|model| !model.contains(':') && !model.starts_with('-'))?;
    match models::find(model) {
        Ok(_) => Some(format!("the model goes after '=': write --serve={model}")),
        Err(why) => Some(format!("the model goes after '=', and {why}")),
    }
}

/// What is wrong with `--json out.json`, where 'out.json' is parsed as a target. `None`: nothing, as in
/// `merge --json a.json`.
pub(super) fn file_without_equals(words: &[OsString]) -> Option<String> {
    let command = words.get(1)?.to_str().filter(|command| ["blast", "check", "compare", "run"].contains(command))?;
    let file = word_after("--json", words)?.to_string_lossy();
    if !file.ends_with(".json") {
        return None;
    }
    Some(format!(
        "'{command} --json {file}': the file goes after '=': write --json={file} (without a file, the JSON goes to standard \
         output)"
    ))
}

/// What is wrong with `--size 5 KiB`, where 'KiB' is parsed as a target.
pub(super) fn unit_apart(words: &[OsString]) -> Option<String> {
    const UNITS: &[&str] = &[
        "B", "k", "m", "g", "kb", "mb", "gb", "KiB", "MiB", "GiB", "TiB", "ns", "us", "µs", "ms", "s", "sec", "min",
        "h",
    ];
    let texts: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let command = texts.get(1).filter(|command| ["blast", "check", "compare", "serve"].contains(command))?;
    let is_unit = |word: &&str| UNITS.iter().any(|unit| unit.eq_ignore_ascii_case(word));
    let is_number = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let of_flag =
        texts.windows(3).find(|three| is_flag(&OsString::from(three[0])) && is_number(three[1]) && is_unit(&three[2]));
    let in_one = || {
        let is_meant =
            |two: &&[&str]| two[0].starts_with("--") && two[0].split_once('=').is_some_and(|(_, n)| is_number(n));
        texts.windows(2).filter(is_meant).find(|two| is_unit(&two[1]))
    };
    let (unit, write) = match of_flag {
        Some(three) => (three[2], format!("{} {}{}", three[0], three[1], three[2])),
        None => in_one().map(|two| (two[1], format!("{}{}", two[0], two[1])))?,
    };
    let taken = if ["blast", "check"].contains(command) { ", and was taken for the target" } else { "" };
    Some(format!("'{unit}' stands apart from its number{taken}: write {write}"))
}

/// A message about a flag with the value that was typed: `--workers 100000` and not `--workers 100k`, its normal form.
pub(super) fn as_typed(message: &str, words: &[OsString]) -> String {
    let given = |flag: &str| {
        let (name, value) = (words.iter().position(|word| word == flag), format!("{flag}="));
        let joined = || words.iter().find_map(|word| word.to_str()?.strip_prefix(&value).map(str::to_owned));
        name.and_then(|at| words.get(at + 1)?.to_str().map(str::to_owned)).or_else(joined)
    };
    let typed = || {
        let (head, problem) = message.split_once(": ")?;
        let (flag, normal) = head.split_once(' ').filter(|(flag, _)| flag.starts_with("--"))?;
        let typed = given(flag).filter(|typed| !typed.is_empty() && typed.starts_with(|c: char| c.is_ascii_digit()))?;
        (normal.split_whitespace().count() == 1).then(|| format!("{flag} {typed}: {problem}"))
    };
    typed().unwrap_or_else(|| message.to_owned())
}

/// Takes away the usage line where it shows what was just refused, or all flags of the command.
pub(super) fn shorten_usage(error: &mut clap::Error) {
    const LONG: usize = 100;
    let is_long = error.get(ContextKind::Usage).is_some_and(|usage| usage.to_string().len() > LONG);
    if is_long || matches!(error.kind(), ErrorKind::ArgumentConflict | ErrorKind::TooManyValues) {
        error.remove(ContextKind::Usage);
    }
}

/// The words with every value that begins with a hyphen joined to its flag: `--duration=-5s`. Then the value is read as
/// a value, and refused as one. `None`: there is no such value.
pub(super) fn with_negative_values(words: &[OsString]) -> Option<Vec<OsString>> {
    let is_number = |word: &OsString| {
        let rest = word.to_str().and_then(|word| word.strip_prefix('-'));
        rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit() || first == '.'))
    };
    let mut joined: Vec<OsString> = Vec::new();
    for word in words {
        match joined.last_mut().filter(|last| is_flag(last) && is_number(word)) {
            Some(flag) => {
                flag.push("=");
                flag.push(word);
            }
            None => joined.push(word.clone()),
        }
    }
    (joined.len() < words.len()).then_some(joined)
}

/// Whether a word is a flag without a value: `-c`, `--conns`.
fn is_flag(word: &OsString) -> bool {
    word.to_str().is_some_and(|word| {
        let name = word.trim_start_matches('-');
        let has_hyphens = word.len() - name.len() == if name.len() == 1 { 1 } else { 2 };
        has_hyphens && name.starts_with(|first: char| first.is_ascii_alphabetic()) && !name.contains('=')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_negative_value_is_joined_to_its_flag_and_nothing_else_is() {
        let joined = |line| with_negative_values(&words(line)).map(|words| words.join(" ".as_ref()));
        assert_eq!(joined("blast --duration -5s -c -1"), Some("blast --duration=-5s -c=-1".into()));
        for line in ["blast --conns 5", "blast --quiet -c", "blast a:1 -5", "blast --seed=1 -5", "blast -- -5"] {
            assert_eq!(joined(line), None, "{line}");
        }
    }

    #[test]
    fn every_foreign_flag_is_none_of_the_command_that_it_is_foreign_to() {
        let program = crate::cli::command();
        for row in FOREIGN_FLAGS {
            for name in row.commands {
                let command = program.find_subcommand(name).expect("the command exists");
                let is_known = |flag: &&str| match flag.strip_prefix("--") {
                    Some(long) => command.get_arguments().any(|arg| arg.get_long() == Some(long)),
                    None => command.get_arguments().any(|arg| arg.get_short() == flag.chars().nth(1)),
                };
                assert_eq!(row.flags.iter().find(|flag| is_known(flag)), None, "{name} has this flag itself");
            }
        }
    }

    #[test]
    fn a_value_is_quoted_as_it_was_typed() {
        let said = |line, message| as_typed(message, &words(line));
        assert_eq!(said("serve --workers 100000", "--workers 100k: too many"), "--workers 100000: too many");
        assert_eq!(said("serve --workers=100000", "--workers 100k: too many"), "--workers 100000: too many");
        assert_eq!(said("serve", "--workers 100k: too many"), "--workers 100k: too many");
        assert_eq!(said("blast --tls", "--tls: why: not"), "--tls: why: not");
    }

    #[test]
    fn a_unit_that_stands_alone_is_no_target() {
        let said = |line: &str| unit_apart(&words(line)).unwrap_or_default();
        assert!(said("echo-tester blast --serve --size 5 KiB").ends_with("taken for the target: write --size 5KiB"));
        assert!(said("echo-tester serve --idle-timeout=5 s").ends_with("number: write --idle-timeout=5s"));
        for line in ["blast --conns 5 host:80", "blast 5 s", "run --jobs 5 s", "blast --size 5KiB a:80"] {
            assert_eq!(said(&format!("echo-tester {line}")), "", "{line}");
        }
    }

    #[test]
    fn a_value_is_kept_wherever_it_stands() {
        for (line, tip_text) in [
            ("echo-tester serve --port 5000", "write --bind 5000"),
            ("echo-tester serve --port=5000", "write --bind 5000"),
            ("echo-tester serve --port", "write --bind 7777"),
            ("echo-tester blast --model epoll", "write --serve=epoll"),
            ("echo-tester blast --version", "write echo-tester --version"),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let flag = words[2].split('=').next().expect("a flag");
            assert_eq!(tip(words[1], flag, &words).as_deref(), Some(tip_text), "{line}");
        }
    }
}
