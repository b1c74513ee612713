//! Which part of the crate may know which: the diagram of `src/lib.rs` as a table.

/// A folder or file directly under `src/`, and the parts that its code may name. What is not listed is not allowed.
/// Test code may name any part, but for the one rule of the servers, which has a check of its own.
pub(crate) const LAYERS: &[(&str, &[&str])] = &[
    ("exit", &[]),
    ("units", &[]),
    ("random", &[]),
    ("sync", &[]),
    ("sys", &[]),
    ("failure", &["exit"]),
    ("interrupt", &["exit", "sync", "sys"]),
    // The instructions of the CPU are unsafe to call, so they stand in `sys`; the rest of it is out of bounds
    // (rules.rs).
    ("stream", &["random", "sys"]),
    ("plan", &["random", "stream", "units"]),
    ("measure", &["stream"]),
    ("transport", &["units"]),
    ("relay", &["sys", "transport"]),
    // Of `sys` only its words (rules.rs).
    ("judge", &["exit", "measure", "plan", "stream", "sys", "units"]),
    ("server", &["random", "sync", "sys", "transport", "units"]),
    ("config", &["failure", "plan", "server", "stream", "sys", "transport", "units"]),
    ("client", &["config", "measure", "plan", "stream", "sync", "sys", "transport", "units"]),
    ("peer", &["client", "sync", "sys", "transport"]),
    ("scenario", &["config", "judge", "plan", "stream", "units"]),
    ("report", &["client", "exit", "judge", "measure", "plan", "scenario", "server", "stream", "units"]),
    ("output", &["exit", "failure", "interrupt", "judge", "report", "sync", "sys"]),
    (
        "target",
        &[
            "client",
            "config",
            "failure",
            "interrupt",
            "measure",
            "report",
            "scenario",
            "server",
            "sync",
            "sys",
            "transport",
        ],
    ),
    (
        "runner",
        &[
            "client",
            "config",
            "exit",
            "failure",
            "interrupt",
            "judge",
            "measure",
            "output",
            "peer",
            "plan",
            "report",
            "scenario",
            "server",
            "stream",
            "sync",
            "sys",
            "target",
            "transport",
            "units",
        ],
    ),
    (
        "command",
        &[
            "client",
            "config",
            "exit",
            "failure",
            "interrupt",
            "judge",
            "output",
            "peer",
            "plan",
            "relay",
            "report",
            "runner",
            "scenario",
            "server",
            "stream",
            "sync",
            "sys",
            "target",
            "transport",
            "units",
        ],
    ),
    ("cli", &["command", "config", "exit", "failure", "interrupt", "output", "runner", "server", "sys", "units"]),
];

/// What wires everything together, and so may know everything.
pub(crate) const WIRING: &[&str] = &["lib", "main"];

/// The part that a file under `src/` belongs to: `plan` for `src/plan/steps.rs` and for `src/plan.rs`.
pub(crate) fn part_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    Some(inside.split_once('/').map_or(inside.trim_end_matches(".rs"), |(folder, _)| folder))
}

/// The parts that `part` may name, or `None` for a part that is in no table.
pub(crate) fn may_name(part: &str) -> Option<&'static [&'static str]> {
    LAYERS.iter().find(|(name, _)| *name == part).map(|(_, allowed)| *allowed)
}

#[test]
fn the_arrows_go_one_way() {
    fn visit(part: &'static str, trail: &mut Vec<&'static str>) {
        assert!(!trail.contains(&part), "{trail:?} comes back to {part}");
        trail.push(part);
        for next in may_name(part).expect("every part named in the table has a row") {
            visit(next, trail);
        }
        trail.pop();
    }
    for (part, _) in LAYERS {
        visit(part, &mut Vec::new());
    }
}

#[test]
fn the_part_is_the_folder_or_the_file_under_src() {
    assert_eq!(part_of("src/plan/steps.rs"), Some("plan"));
    assert_eq!(part_of("src/server/models/epoll.rs"), Some("server"));
    assert_eq!(part_of("src/exit.rs"), Some("exit"));
    assert_eq!(part_of("tests/models.rs"), None);
}

/// The lines of the map at the head of `src/lib.rs`, each with the rooms that it names.
fn map_lines(text: &str) -> Vec<Vec<&str>> {
    let fenced = text.split("//! ```text\n").nth(1).and_then(|rest| rest.split("//! ```\n").next());
    let lines = fenced.expect("src/lib.rs has a map").lines();
    fn rooms(line: &str) -> Option<Vec<&str>> {
        let mut parts = line.trim_start_matches("//!").split("  ").map(str::trim);
        parts.find(|part| !part.is_empty()).map(|names| names.split(", ").collect())
    }
    // A line that goes on with the description begins further to the right.
    let named = lines.filter(|line| line.starts_with("//!   ") && !line.starts_with("//!    "));
    named.filter_map(rooms).collect()
}

#[test]
fn the_map_in_lib_rs_names_every_room_and_only_points_up() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).expect("src/lib.rs is there");
    let map = map_lines(&text);
    let line_of = |room: &str| map.iter().position(|names| names.contains(&room));
    let mut on_the_map: Vec<&str> = map.iter().flatten().copied().collect();
    let mut in_the_table: Vec<&str> = LAYERS.iter().map(|(room, _)| *room).collect();
    on_the_map.sort_unstable();
    in_the_table.sort_unstable();
    assert_eq!(on_the_map, in_the_table);
    for (room, allowed) in LAYERS {
        for other in *allowed {
            assert!(line_of(other) < line_of(room), "'{room}' imports '{other}', which is not above it on the map");
        }
    }
}

/// The rooms of the table in `docs/architecture.md`, in its order.
fn table_rows(text: &str) -> Vec<&str> {
    let table = text.split("\n## The rooms\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = table.expect("docs/architecture.md has a table of rooms").lines();
    rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect()
}

#[test]
fn the_table_in_architecture_md_names_every_room_and_only_points_up() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/architecture.md");
    let text = std::fs::read_to_string(path).expect("docs/architecture.md is there");
    let rows = table_rows(&text);
    let row_of = |room: &str| rows.iter().position(|name| *name == room);
    let mut in_the_document = rows.clone();
    let mut in_the_table: Vec<&str> = LAYERS.iter().map(|(room, _)| *room).collect();
    in_the_document.sort_unstable();
    in_the_table.sort_unstable();
    assert_eq!(in_the_document, in_the_table);
    for (room, allowed) in LAYERS {
        for other in *allowed {
            assert!(row_of(other) < row_of(room), "'{room}' imports '{other}', which is not above it in the table");
        }
    }
}

#[test]
fn a_table_is_read_by_its_first_column_until_the_next_heading() {
    let text =
        "# A\n\n## The rooms\n\n| room | trade |\n| --- | --- |\n| `exit` | `codes` |\n| `cli` | |\n\n## B\n| `c` |\n";
    assert_eq!(table_rows(text), ["exit", "cli"]);
}

#[test]
fn a_map_is_read_by_its_lines_and_descriptions_are_not_rooms() {
    let text = "//! a\n//! ```text\n//!   exit, units    codes · numbers\n//!                  more\n//!   cli            x\n//! ```\n";
    assert_eq!(map_lines(text), [vec!["exit", "units"], vec!["cli"]]);
}
