//! The rules: one function and one row each, with the texts that prove it sees what it should and no more.
//!
//! Texts that a rule forbids everywhere are put together with `concat!`, since this file is checked too.

use crate::SourceFile;
use crate::code::{Code, NamePath};
use crate::layers::{WIRING, may_name, part_of};

/// A place that breaks a rule.
pub(crate) struct Complaint {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// One row: what is asked, the check, and the proof of the check.
pub(crate) struct Rule {
    pub(crate) sentence: &'static str,
    pub(crate) check: fn(&SourceFile) -> Vec<Complaint>,
    /// Path, text, and the line that must be complained about, once.
    pub(crate) breaks: &'static [(&'static str, &'static str, usize)],
    /// Path and text that look alike and are right.
    pub(crate) keeps: &'static [(&'static str, &'static str)],
}

pub(crate) const RULES: &[Rule] = &[
    Rule {
        sentence: "each source file opens with what it is for (//!)",
        check: opens_with_its_purpose,
        breaks: &[("src/plan/steps.rs", "use std::fmt;\n", 1)],
        keeps: &[("src/plan/steps.rs", "//! Steps.\n"), ("README.md", "# Title\n")],
    },
    Rule {
        sentence: "a line has at most 120 columns",
        check: lines_fit,
        breaks: &[(
            "src/a.rs",
            concat!(
                "//! a\n// ",
                "1234567890 1234567890 1234567890 1234567890 1234567890 ",
                "1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890\n"
            ),
            2,
        )],
        keeps: &[(
            "README.md",
            concat!(
                "| ",
                "1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 ",
                "1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 |\n"
            ),
        )],
    },
    Rule {
        sentence: "a file under src has at most 600 lines outside of its tests: ask which two things it is",
        check: files_fit,
        breaks: &[("src/a.rs", LONG_FILE, 601)],
        keeps: &[("src/a.rs", LONG_TESTS)],
    },
    Rule {
        sentence: "what is not done yet is an issue, not a remark in the code",
        check: nothing_is_left_over,
        breaks: &[
            ("src/a.rs", concat!("//! a\n// TO", "DO: later\n"), 2),
            ("scripts/test", concat!("# FIX", "ME\n"), 1),
            ("src/a.rs", "//! a\nfn f() {\n    todo!()\n}\n", 3),
            ("tests/a.rs", "//! a\nfn f() {\n    unimplemented!(\"x\")\n}\n", 3),
        ],
        keeps: &[("src/a.rs", "//! a\nfn todo() {\n    let unimplemented = todo();\n}\n")],
    },
    Rule {
        sentence: "no path of one machine and no host of a package registry stands in the repository",
        check: names_no_place,
        breaks: &[
            ("README.md", concat!("see /wo", "rk/main\n"), 1),
            ("src/a.rs", concat!("//! a\n// index.crates", ".io\n"), 2),
            ("Cargo.lock", "source = \"registry+https://mirror.example/index\"\n", 1),
        ],
        keeps: &[
            ("README.md", "a framework/mainframe, cargo install from crates.io\n"),
            ("Cargo.lock", "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n"),
        ],
    },
    Rule {
        sentence: "unsafe code stands in src/sys, src/server/models, src/server/completion and the event loop alone",
        check: unsafe_stands_apart,
        breaks: &[
            ("src/plan/steps.rs", "//! a\nfn f() {\n    unsafe { g() }\n}\n", 3),
            ("src/server/echo.rs", "//! a\n#![expect(unsafe_code, reason = \"b\")]\n", 2),
        ],
        keeps: &[
            ("src/sys/unix.rs", "//! a\n#![expect(unsafe_code, reason = \"b\")]\nfn f() {\n    unsafe { g() }\n}\n"),
            ("src/plan/steps.rs", "//! Not unsafe.\n// unsafe\nconst A: &str = \"unsafe\";\n"),
        ],
    },
    Rule {
        sentence: "servers never name the stream: a server that knew the pattern could hide its own bug",
        check: servers_do_not_know_the_stream,
        breaks: &[
            ("src/server/echo.rs", "//! a\nuse crate::{\n    stream::Pattern, sys,\n};\n", 3),
            ("src/sys/unix.rs", "//! a\n#[cfg(test)]\nmod tests {\n    use echo_tester::stream;\n}\n", 4),
            ("src/server/a.rs", "//! a\nfn f() {\n    super::super::stream::fill();\n}\n", 3),
        ],
        keeps: &[("src/server/echo.rs", "//! crate::stream\nuse stream::Buf;\nuse crate::sys;\n")],
    },
    Rule {
        sentence: "servers accept by src/server/accepting.rs: std's accept panics over a client's address without a length",
        check: servers_accept_in_one_place,
        breaks: &[("src/server/models/poll.rs", "//! a\nfn f(l: L) {\n    l.accept();\n}\n", 3)],
        keeps: &[
            ("src/server/models/poll.rs", "//! l.accept()\nfn f(l: L) {\n    accept(&l); // not l.accept()\n}\n"),
            (
                "src/server/models/poll.rs",
                "//! a\n#[cfg(test)]\nmod tests {\n    fn f(l: L) {\n        l.accept();\n    }\n}\n",
            ),
            ("src/target/a.rs", "//! a\nfn f(l: L) {\n    l.accept();\n}\n"),
        ],
    },
    Rule {
        sentence: "stream, plan, measure and judge do no I/O, read no clock and draw nothing but from the seed",
        check: pure_parts_stay_pure,
        breaks: &[
            ("src/stream/pattern.rs", "//! a\nuse std::{fmt, fs};\n", 2),
            ("src/plan/steps.rs", "//! a\nuse std::time::Instant;\nfn f() {\n    Instant::now();\n}\n", 4),
            ("src/measure/counters.rs", "//! a\nfn f(t: T) {\n    t.elapsed();\n}\n", 3),
            ("src/judge/verdict.rs", "//! a\nfn f() {\n    eprintln!(\"x\");\n}\n", 3),
            ("src/plan/draw.rs", "//! a\nuse rand::rng;\n", 2),
            ("src/measure/a.rs", "//! a\nuse std::net::TcpStream;\n", 2),
            ("src/stream/a.rs", "//! a\nuse crate::sys::cpu_time;\n", 2),
        ],
        keeps: &[
            ("src/plan/a.rs", "//! a\nuse std::net::SocketAddr;\nuse std::time::{Duration, Instant};\nuse std::io;\n"),
            ("src/plan/a.rs", "//! a\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"),
            ("src/client/engine.rs", "//! a\nuse std::fs;\n"),
            ("src/judge/a.rs", "//! a\nfn f(run: Run) {\n    run.elapsed;\n}\n"),
            ("src/stream/a.rs", "//! a\nuse crate::sys::simd::Kernel;\n"),
            ("src/judge/a.rs", "//! a\nuse crate::sys::advice;\n"),
        ],
    },
    Rule {
        sentence: "the arrows between the parts go one way (tests/tidy/layers.rs)",
        check: arrows_go_one_way,
        breaks: &[
            ("src/client/engine.rs", "//! a\nuse crate::{plan::Step, report};\n", 2),
            ("src/plan/steps.rs", "//! a\nfn f() {\n    crate::client::run();\n}\n", 3),
            ("src/exit.rs", "//! a\nuse crate::command;\n", 2),
            ("src/newcomer.rs", "//! a\n", 1),
        ],
        keeps: &[
            ("src/client/engine.rs", "//! a\nuse crate::plan::Step;\nuse crate::client::limits;\n"),
            ("src/command/blast.rs", "//! a\nuse crate::report;\n"),
            ("src/units/text.rs", "//! a\nmacro_rules! m {\n    () => { $crate::units::text::f() };\n}\n"),
        ],
    },
    Rule {
        sentence: "a test waits for what it needs; a sleep stands beside a comment '// sleep: why' or not at all",
        check: tests_do_not_sleep,
        breaks: &[
            ("tests/a.rs", "//! a\nfn f() {\n    std::thread::sleep(D);\n}\n", 3),
            (
                "tests/a.rs",
                "//! a\nuse tokio::time;\nasync fn f() {\n    // waits a little\n    time::sleep(D).await;\n}\n",
                5,
            ),
            ("src/a.rs", "//! a\n#[cfg(test)]\nmod tests {\n    fn f() {\n        sleep(D);\n    }\n}\n", 5),
        ],
        keeps: &[
            (
                "tests/a.rs",
                "//! a\nfn f() {\n    // sleep: the pause is what is\n    // tested.\n    thread::sleep(D);\n}\n",
            ),
            ("tests/a.rs", "//! a\nfn f() {\n    thread::sleep(D); // sleep: the pause is what is tested\n}\n"),
            ("src/a.rs", "//! a\nfn f() {\n    std::thread::sleep(D);\n}\n"),
        ],
    },
    Rule {
        sentence: "plain words: a native engineer does not write these",
        check: words_are_plain,
        breaks: &[
            ("src/a.rs", concat!("//! a\n// S", "o many threads.\n"), 2),
            ("README.md", concat!("It is read an", "ew.\n"), 1),
            ("src/a.rs", concat!("//! a\n    // It ends by\n    // it", "self.\n"), 2),
        ],
        keeps: &[
            ("src/a.rs", "//! a\n// As long as it runs, many threads do so.\n"),
            ("CHANGELOG.md", concat!("in va", "in\n")),
        ],
    },
    Rule {
        sentence: "a test that is ignored says why",
        check: ignored_tests_say_why,
        breaks: &[("tests/a.rs", "//! a\n#[test]\n#[ignore]\nfn f() {}\n", 3)],
        keeps: &[("tests/a.rs", "//! a\n#[test]\n#[ignore = \"takes an hour\"]\nfn f() {}\n")],
    },
    Rule {
        sentence: "an action of the hosted CI is pinned by its full commit, with the version beside it",
        check: actions_are_pinned,
        breaks: &[
            (".github/workflows/ci.yml", "steps:\n  - uses: actions/checkout@v5 # v5\n", 2),
            (".github/workflows/ci.yml", "- uses: a/b@08c6903cd8c0fde910a37f88322edcfb5dd907a8\n", 1),
        ],
        keeps: &[(".github/workflows/ci.yml", "- uses: a/b@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0\n")],
    },
];

const MAX_COLUMNS: usize = 120;
const MAX_LINES: usize = 600;

/// One line more than a file may have.
const LONG_FILE: &str = match str::from_utf8(&[b'\n'; MAX_LINES + 1]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};

/// As many lines again, within a module of tests.
const LONG_TESTS: &str = {
    const BYTES: [u8; 2 * MAX_LINES] = {
        let mut bytes = [b'\n'; 2 * MAX_LINES];
        let (head, _) = bytes.split_at_mut(18);
        head.copy_from_slice(b"#[cfg(test)] mod a");
        bytes[18] = b'{';
        bytes[2 * MAX_LINES - 2] = b'}';
        bytes
    };
    match str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    }
};

fn is_rust(file: &SourceFile) -> bool {
    file.path.ends_with(".rs")
}

/// Rust code that is a test as a whole.
pub(crate) fn is_all_test(file: &SourceFile) -> bool {
    !file.path.starts_with("src/") || file.path.ends_with("/tests.rs") || file.path.contains("/tests/")
}

/// Every path in a Rust file that `wrong` has a word against.
fn paths(file: &SourceFile, wrong: impl Fn(&NamePath) -> Option<String>) -> Vec<Complaint> {
    if !is_rust(file) {
        return Vec::new();
    }
    let complain = |path: &NamePath| wrong(path).map(|what| Complaint { line: path.line, what });
    Code::read(&file.text).paths.iter().filter_map(complain).collect()
}

/// Every line of a file that `wrong` has a word against.
fn lines(file: &SourceFile, wrong: impl Fn(&str) -> Option<String>) -> Vec<Complaint> {
    let complain = |(at, line): (usize, &str)| wrong(line).map(|what| Complaint { line: at + 1, what });
    file.text.lines().enumerate().filter_map(complain).collect()
}

fn opens_with_its_purpose(file: &SourceFile) -> Vec<Complaint> {
    if !is_rust(file) || file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![Complaint { line: 1, what: "does not open with //!".to_owned() }]
}

fn lines_fit(file: &SourceFile) -> Vec<Complaint> {
    // Lock files, licences and snapshots are as they come.
    let written =
        [".rs", ".c", ".toml", ".yml", ".md", ".sh", ".ci/run", "scripts/cost", "scripts/test", "tests/wine/run"];
    if !written.iter().any(|end| file.path.ends_with(end)) {
        return Vec::new();
    }
    lines(file, |line| {
        let columns = line.chars().count();
        // There is no way to break a row of a table or an address; rustfmt has broken code as far as strings let it.
        let text = line.trim_start().trim_start_matches(['/', '!']).trim_start();
        let is_code = is_rust(file) && !line.trim_start().starts_with("//");
        let unbreakable = text.starts_with('|')
            || (file.path.ends_with(".md") && text.contains("://"))
            || (is_code && line.contains('"'));
        (columns > MAX_COLUMNS && !unbreakable).then(|| format!("{columns} columns"))
    })
}

fn files_fit(file: &SourceFile) -> Vec<Complaint> {
    if !is_rust(file) || is_all_test(file) {
        return Vec::new();
    }
    let in_tests: usize = Code::read(&file.text).test_items.iter().map(|(first, last)| last + 1 - first).sum();
    let count = file.text.lines().count() - in_tests;
    match count > MAX_LINES {
        true => vec![Complaint { line: count, what: format!("{count} lines outside of tests") }],
        false => Vec::new(),
    }
}

fn nothing_is_left_over(file: &SourceFile) -> Vec<Complaint> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let is_mark = |word: &str| marks.contains(&word);
    let mut complaints = lines(file, |line| {
        let mut words = line.split(|letter: char| !letter.is_alphanumeric());
        words.find(|word| is_mark(word)).map(|word| format!("{word} is left over"))
    });
    complaints.extend(paths(file, |path| {
        let unfinished = path.expanded && (path.contains("todo") || path.contains("unimplemented"));
        unfinished.then(|| format!("{}! is left over", path.names.join("::")))
    }));
    complaints
}

fn names_no_place(file: &SourceFile) -> Vec<Complaint> {
    let places = [
        concat!(" /wo", "rk/"),
        concat!("/tmp/", "wt"),
        concat!("/tmp/", "target"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("deb.debian", ".org"),
        concat!("pypi", ".org"),
        concat!("files.pythonhosted", ".org"),
        concat!("registry.npmjs", ".org"),
    ];
    let usual_source = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    lines(file, |line| {
        // A path of one machine starts after a blank, a quote or the like: 'framework/…' is none.
        let padded = format!(" {}", line.replace(['"', '\'', '`', '(', '='], " "));
        let place = places.iter().find(|place| padded.contains(**place));
        let mirror = file.path == "Cargo.lock" && line.starts_with("source = ") && line != usual_source;
        match (place, mirror) {
            (Some(place), _) => Some(format!("names {}", place.trim())),
            (None, true) => Some("a package from another registry than crates.io".to_owned()),
            (None, false) => None,
        }
    })
}

fn unsafe_stands_apart(file: &SourceFile) -> Vec<Complaint> {
    let apart = ["src/sys/", "src/server/models/", "src/server/completion/", "src/server/readiness/event_loop.rs"];
    if !is_rust(file) || !file.path.starts_with("src/") || apart.iter().any(|folder| file.path.starts_with(folder)) {
        return Vec::new();
    }
    let code = Code::read(&file.text);
    let keywords = code.paths.iter().filter(|path| path.names == ["unsafe"]).map(|path| path.line);
    let attributes = code.attributes.iter().filter(|(inside, _)| inside.contains("unsafe_code")).map(|(_, line)| *line);
    keywords.chain(attributes).map(|line| Complaint { line, what: "unsafe code".to_owned() }).collect()
}

fn servers_do_not_know_the_stream(file: &SourceFile) -> Vec<Complaint> {
    if !["src/server", "src/sys"].iter().any(|folder| file.path.starts_with(folder)) {
        return Vec::new();
    }
    paths(file, |path| {
        let names = ["crate::stream", "echo_tester::stream", "super::stream"];
        names.iter().any(|name| path.contains(name)).then(|| path.names.join("::"))
    })
}

fn servers_accept_in_one_place(file: &SourceFile) -> Vec<Complaint> {
    let is_elsewhere = !file.path.starts_with("src/server/") || file.path.ends_with("/tests.rs");
    if is_elsewhere || file.path == "src/server/accepting.rs" {
        return Vec::new();
    }
    let code = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.contains(".accept()") && !code.contains("self.accept()")
    };
    let lines = file.text.lines().zip(1..).take_while(|(line, _)| *line != "#[cfg(test)]");
    lines.filter(|(text, _)| code(text)).map(|(text, line)| Complaint { line, what: text.trim().to_owned() }).collect()
}

fn pure_parts_stay_pure(file: &SourceFile) -> Vec<Complaint> {
    // Addresses, instants that others took, and error values are data; what reaches outside is not.
    let reaches_outside = [
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "std::os",
        "io::stdin",
        "io::stdout",
        "io::stderr",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "tokio",
        "socket2",
        "rustix",
        "windows_sys",
        "Instant::now",
        "SystemTime::now",
        "rand::rng",
        "thread_rng",
        "from_os_rng",
        "from_entropy",
    ];
    let prints = ["print", "println", "eprint", "eprintln", "dbg"];
    /// What asks nothing of the system: instructions of the processor, and words.
    const PURE_SYS: [&str; 2] = ["crate::sys::simd", "crate::sys::advice"];
    if !part_of(&file.path).is_some_and(|part| ["stream", "plan", "measure", "judge"].contains(&part))
        || is_all_test(file)
    {
        return Vec::new();
    }
    paths(file, |path| {
        // A field named 'elapsed' holds a time that somebody else took.
        let reads_clock = path.called && path.contains("elapsed");
        let outside = reads_clock || reaches_outside.iter().any(|name| path.contains(name));
        let print = path.expanded && prints.iter().any(|name| path.contains(name));
        let system = path.contains("crate::sys") && !PURE_SYS.iter().any(|name| path.contains(name));
        (!path.in_test && (outside || print || system)).then(|| path.names.join("::"))
    })
}

fn arrows_go_one_way(file: &SourceFile) -> Vec<Complaint> {
    let Some(part) = part_of(&file.path).filter(|part| !WIRING.contains(part)) else { return Vec::new() };
    let Some(allowed) = may_name(part) else {
        return vec![Complaint { line: 1, what: format!("'{part}' has no row in tests/tidy/layers.rs") }];
    };
    if is_all_test(file) {
        return Vec::new();
    }
    paths(file, |path| {
        let [top, named, ..] = path.names.as_slice() else { return None };
        let ours = (top == "crate" || top == "echo_tester") && !path.in_test;
        let wrong = named != part && (may_name(named).is_some() || WIRING.contains(&named.as_str()));
        (ours && wrong && !allowed.contains(&named.as_str())).then(|| format!("'{part}' names '{named}'"))
    })
}

fn tests_do_not_sleep(file: &SourceFile) -> Vec<Complaint> {
    let text: Vec<&str> = file.text.lines().collect();
    // The comment stands on the line of the call, or right above it.
    let is_explained = |line: usize| {
        let above = text[..line - 1].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
        text[line - 1..line].iter().chain(above).any(|line| line.contains("// sleep: "))
    };
    let all_test = is_all_test(file);
    paths(file, |path| {
        let sleeps = path.called && path.names.last().is_some_and(|name| name == "sleep" || name == "sleep_ms");
        let wrong = sleeps && (all_test || path.in_test) && !is_explained(path.line);
        wrong.then(|| path.names.join("::"))
    })
}

fn words_are_plain(file: &SourceFile) -> Vec<Complaint> {
    let foreign = [
        concat!("so ma", "ny"),
        concat!("so lo", "ng"),
        concat!("an", "ew"),
        concat!("in va", "in"),
        concat!("wheref", "rom"),
        concat!("for wa", "nt of"),
        concat!("one too ma", "ny"),
        concat!("by it", "self"),
    ];
    let is_prose = is_rust(file) || file.path.ends_with(".md") || file.path.ends_with(".toml");
    if !is_prose || file.path == "CHANGELOG.md" {
        return Vec::new();
    }
    // A phrase may go on in the next line, and the marks of comments are not words.
    let is_mark = |letter: char| !letter.is_alphanumeric();
    let of_line = |(at, line): (usize, &str)| -> Vec<(usize, String)> {
        line.split(is_mark).filter(|word| !word.is_empty()).map(|word| (at + 1, word.to_lowercase())).collect()
    };
    let words: Vec<(usize, String)> = file.text.lines().enumerate().flat_map(of_line).collect();
    let phrase_at = |at: usize| {
        foreign.iter().find(|phrase| {
            let mut next = words[at..].iter().map(|(_, word)| word.as_str());
            phrase.split(' ').all(|wanted| next.next() == Some(wanted))
        })
    };
    let found = (0..words.len()).filter_map(|at| Some((words[at].0, phrase_at(at)?)));
    found.map(|(line, phrase)| Complaint { line, what: format!("'{phrase}'") }).collect()
}

fn ignored_tests_say_why(file: &SourceFile) -> Vec<Complaint> {
    if !is_rust(file) {
        return Vec::new();
    }
    let attributes = Code::read(&file.text).attributes;
    let silent = attributes.into_iter().filter(|(inside, _)| inside == "ignore");
    silent.map(|(_, line)| Complaint { line, what: "ignored without a reason".to_owned() }).collect()
}

fn actions_are_pinned(file: &SourceFile) -> Vec<Complaint> {
    if !file.path.starts_with(".github/") {
        return Vec::new();
    }
    lines(file, |line| {
        let (_, action) = line.split_once("uses: ")?;
        let commit = action.split(['@', ' ']).nth(1).unwrap_or_default();
        let is_commit = commit.len() == 40 && commit.chars().all(|digit| digit.is_ascii_hexdigit());
        (!is_commit || !line.contains(" # v")).then(|| action.to_owned())
    })
}
