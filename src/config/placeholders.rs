//! Placeholders in the command, the environment and the files of a process: `{addr}`, `{host}` and `{port}` stand for
//! its own address, `{NAME}`, `{NAME.host}` and `{NAME.port}` for that of an earlier process, `{dir}` for the folder of
//! its files. Other text in braces stands for itself: shells, awk and configuration files have braces of their own.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::units::nearest::{nearest, one_slip_away};

/// The placeholders of the own address.
const OWN: [&str; 3] = ["addr", "host", "port"];
/// The placeholder of the folder with the files of the case.
const FOLDER: &str = "dir";

/// What the placeholders of a process stand for.
#[derive(Clone, Debug)]
pub struct Places {
    own: SocketAddr,
    others: Vec<(String, SocketAddr)>,
    folder: Option<PathBuf>,
}

/// Why a text in braces can't be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceholderError {
    /// The placeholder, with its braces.
    pub part: String,
    /// What is wrong with it, and what to write.
    pub problem: String,
}

/// A text in braces that may be a placeholder.
struct InBraces<'t> {
    /// Where it stands, braces included.
    span: Range<usize>,
    /// The process, or a word of its own.
    name: &'t str,
    /// The part of that process's address.
    part: Option<&'t str>,
}

impl Places {
    /// Of a process with this address of its own, which knows no other process.
    pub fn at(own: SocketAddr) -> Places {
        Places { own, others: Vec::new(), folder: None }
    }

    /// With the addresses of these earlier processes, and the folder of the case.
    #[must_use]
    pub fn among(self, others: Vec<(String, SocketAddr)>, folder: Option<&Path>) -> Places {
        Places { others, folder: folder.map(Path::to_owned), ..self }
    }

    /// Its own address.
    pub fn own(&self) -> SocketAddr {
        self.own
    }

    /// The folder of the case, if it has one.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The text with all placeholders filled in.
    pub fn fill_in(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut end = 0;
        for found in in_braces(text) {
            if let Some(value) = self.value(&found) {
                filled.push_str(&text[end..found.span.start]);
                filled.push_str(&value);
                end = found.span.end;
            }
        }
        filled + &text[end..]
    }

    fn value(&self, found: &InBraces<'_>) -> Option<String> {
        let part_of = |address: SocketAddr, part: &str| match part {
            "addr" => Some(address.to_string()),
            "host" => Some(address.ip().to_string()),
            "port" => Some(address.port().to_string()),
            _ => None,
        };
        match (found.name, found.part) {
            (FOLDER, None) => self.folder.as_ref().map(|folder| folder.display().to_string()),
            (own, None) if OWN.contains(&own) => part_of(self.own, own),
            (name, part) => {
                let (_, address) = self.others.iter().find(|(other, _)| other == name)?;
                part_of(*address, part.unwrap_or("addr"))
            }
        }
    }
}

/// Whether the text has a placeholder of the own address.
pub(super) fn names_own_address(text: &str) -> bool {
    in_braces(text).iter().any(|found| found.part.is_none() && OWN.contains(&found.name))
}

/// Whether the text needs the folder of the case.
pub(super) fn names_folder(text: &str) -> bool {
    in_braces(text).iter().any(|found| found.part.is_none() && found.name == FOLDER)
}

/// Whether this is a word that placeholders use themselves, so that no process may have it as its name.
pub(super) fn is_reserved(name: &str) -> bool {
    name == FOLDER || OWN.contains(&name)
}

/// Checks the placeholders of the process `own`. `earlier`: the processes that have an address by then; `later`: those
/// that start after it.
///
/// # Errors
/// The first one that nothing stands for.
pub fn check_placeholders(text: &str, own: &str, earlier: &[&str], later: &[&str]) -> Result<(), PlaceholderError> {
    for found in in_braces(text) {
        let known_part = found.part.is_none_or(|part| OWN.contains(&part));
        let problem = match found.name {
            name if earlier.contains(&name) && known_part => continue,
            name if earlier.contains(&name) => {
                format!("a process has an address, and no such part: write {{{name}.addr}}, .host or .port")
            }
            name if name == own && (found.part.is_some() || !is_reserved(name)) => {
                format!("'{own}' is this process itself: write {{addr}}, {{host}} or {{port}}")
            }
            name if later.contains(&name) => {
                format!("'{name}' starts after '{own}', so its address is not known yet: move '{name}' above '{own}'")
            }
            name if found.part.is_none() && is_reserved(name) => continue,
            _ if found.part.is_some() && !known_part => continue,
            name => match unknown(name, found.part, earlier) {
                Some(problem) => problem,
                None => continue,
            },
        };
        return Err(PlaceholderError { part: text[found.span].to_owned(), problem });
    }
    Ok(())
}

/// What is wrong with a name that no process has. `None`: it may be anything, and stands for itself.
fn unknown(name: &str, part: Option<&str>, earlier: &[&str]) -> Option<String> {
    let dot_part = part.map_or_else(String::new, |part| format!(".{part}"));
    // A word alone may be anything, such as the {print} of awk.
    let meant = match part {
        None => one_slip_away(name, earlier.iter().copied().chain(OWN)),
        Some(_) => nearest(name, earlier.iter().copied()),
    };
    match meant {
        Some(meant) => Some(format!("there is no process '{name}': did you mean {{{meant}{dot_part}}}?")),
        None if part.is_none() => None,
        None if earlier.is_empty() => Some(format!("there is no process '{name}' before this one")),
        None => Some(format!("there is no process '{name}' before this one: there is {}", earlier.join(", "))),
    }
}

/// Every `{WORD}` and `{WORD.WORD}` of a text.
fn in_braces(text: &str) -> Vec<InBraces<'_>> {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let of_brace = |(start, _): (usize, &str)| {
        if text[..start].ends_with('$') {
            // A variable of a shell.
            return None;
        }
        let inside = text[start + 1..].split_once('}')?.0;
        let (name, part) = inside.split_once('.').map_or((inside, None), |(name, part)| (name, Some(part)));
        let span = start..start + inside.len() + 2;
        (is_word(name) && part.is_none_or(is_word)).then_some(InBraces { span, name, part })
    };
    text.match_indices('{').filter_map(of_brace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let others = vec![("backend".to_owned(), "127.0.0.1:9".parse().expect("an address"))];
        Places::at("[::1]:7".parse().expect("an address")).among(others, Some(Path::new("/tmp/x")))
    }

    #[test]
    fn each_placeholder_is_filled_in_and_other_braces_stay() {
        let places = places();
        assert_eq!(places.fill_in("{addr} {host} {port} {dir}/a.cfg"), "[::1]:7 ::1 7 /tmp/x/a.cfg");
        assert_eq!(places.fill_in("{backend}{backend.addr} {backend.host}:{backend.port}"), {
            "127.0.0.1:9127.0.0.1:9 127.0.0.1:9"
        });
        for text in ["awk '{print}' {a,b} {} { addr } {x.addr} {backend.name} ${port} {{", "events {\n}\nserver { a; }"]
        {
            assert_eq!(places.fill_in(text), text);
        }
        assert_eq!(Places::at(places.own()).fill_in("{dir} {backend}{{port}}"), "{dir} {backend}{7}");
    }

    #[test]
    fn a_placeholder_that_nothing_stands_for_is_answered_with_what_to_write() {
        let check = |text: &str| check_placeholders(text, "proxy", &["backend"], &["server"]);
        for text in
            ["{addr} {dir} {backend} {backend.port}", "$X ${PORT} ${BACKEND}", "awk '{print}' {x.y} {}", "{'a': 1}"]
        {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, part, remedy) in [
            ("--to={bakend.addr}", "{bakend.addr}", "did you mean {backend.addr}?"),
            ("{other.port}", "{other.port}", "there is no process 'other' before this one: there is backend"),
            ("{backend.socket}", "{backend.socket}", "write {backend.addr}, .host or .port"),
            ("{addr} {server.addr}", "{server.addr}", "move 'server' above 'proxy'"),
            ("{proxy.addr}", "{proxy.addr}", "write {addr}, {host} or {port}"),
            ("{adr}", "{adr}", "did you mean {addr}?"),
            ("{backends}", "{backends}", "did you mean {backend}?"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.part == part && error.problem.contains(remedy), "{text}: {error:?}");
        }
        let first = check_placeholders("{nobody.addr}", "a", &[], &["b"]).expect_err("there is none");
        assert_eq!(first.problem, "there is no process 'nobody' before this one");
    }
}
