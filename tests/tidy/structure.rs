//! Rules about all files together: no circle of imports, no permission that nobody uses, no type name in two files.
//!
//! Names are resolved as far as module paths and `pub use` go. A name that reaches a file by a glob or a method call is
//! not seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::SourceFile;
use crate::code::{Code, Definition, NamePath};
use crate::layers::{LAYERS, part_of};
use crate::rules::is_all_test;

/// Test functions whose name is longer than `most` characters: too long for a sentence.
pub(crate) fn long_test_names(files: &[SourceFile], most: usize) -> Vec<String> {
    let of_file = |file: &SourceFile| -> Vec<String> {
        let all_test = is_all_test(file);
        let functions = Code::read(&file.text).functions.into_iter();
        let long = functions.filter(|found| (all_test || found.in_test) && found.name.len() > most);
        long.map(|found| format!("{}:{}: {} characters", file.path, found.first, found.name.len())).collect()
    };
    files.iter().filter(|file| file.path.ends_with(".rs")).flat_map(of_file).collect()
}

/// Files of the repository that a document names and that are not there. A name ends with `.rs`, `.toml` or `/`.
pub(crate) fn missing_files(files: &[SourceFile]) -> Vec<String> {
    let is_there = |name: &str| files.iter().any(|file| file.path == name || file.path.starts_with(name));
    let tops = ["src/", "tests/", "scripts/", "docs/", "scenarios/", "benches/"];
    let mut missing = Vec::new();
    for document in files.iter().filter(|file| file.path.ends_with(".md") && file.path != "CHANGELOG.md") {
        for (at, line) in document.text.lines().enumerate() {
            let names = line.split(|letter: char| !(letter.is_alphanumeric() || "/._-".contains(letter)));
            let is_path = |name: &&str| tops.iter().any(|top| name.starts_with(top)) && !name.contains("NAME");
            for name in names.map(|name| name.trim_end_matches('.')).filter(is_path) {
                let is_file = name.ends_with(".rs") || name.ends_with(".toml") || name.ends_with(".md");
                if (is_file || name.ends_with('/')) && !name.contains("ID-") && !is_there(name) {
                    missing.push(format!("{}:{}: {name} is not there", document.path, at + 1));
                }
            }
        }
    }
    missing
}

/// Functions longer than a screen, in lines from `fn` to the closing brace.
pub(crate) fn long_functions(tree: &Tree, most: usize) -> Vec<String> {
    let of_module = |module: &Module| -> Vec<String> {
        let long = module.code.functions.iter().filter(|found| !found.in_test && found.last - found.first >= most);
        let line = |found: &Definition| {
            format!("{}:{}: {} has {} lines", module.file, found.first, found.name, found.last + 1 - found.first)
        };
        long.map(line).collect()
    };
    tree.modules.values().flat_map(of_module).collect()
}

/// Type names that may stand in more than one file, and why.
pub(crate) const SHARED_NAMES: &[(&str, &str)] = &[
    ("CompletionRoutine", "the stand-in for Winsock in tests has the names of the original"),
    ("Event", "the stand-in for Winsock in tests has the names of the original"),
];

/// The source files as modules.
pub(crate) struct Tree {
    modules: BTreeMap<Vec<String>, Module>,
}

struct Module {
    file: String,
    code: Code,
}

impl Tree {
    pub(crate) fn of(files: &[SourceFile]) -> Tree {
        let is_code = |file: &&SourceFile| {
            file.path.starts_with("src/") && file.path.ends_with(".rs") && !file.path.ends_with("/tests.rs")
        };
        let module = |file: &SourceFile| {
            (module_path(&file.path), Module { file: file.path.clone(), code: Code::read(&file.text) })
        };
        Tree { modules: files.iter().filter(is_code).map(module).collect() }
    }

    /// Each file with the files that it imports from. Test code and re-exports are no imports.
    pub(crate) fn imports(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let imports_of = |path: &Vec<String>, module: &Module| -> BTreeSet<&str> {
            let uses = module.code.paths.iter().filter(|used| !used.in_test && !used.reexported);
            let absolute = uses.filter_map(|used| absolute(path, &module.code, used));
            let files = absolute.filter_map(|target| self.file_of(&target, 0));
            files.filter(|file| *file != module.file && *file != "src/lib.rs").collect()
        };
        self.modules.iter().map(|(path, module)| (module.file.as_str(), imports_of(path, module))).collect()
    }

    /// The file that defines the name at the end of an absolute path, through at most some re-exports.
    fn file_of(&self, target: &[String], depth: usize) -> Option<&str> {
        let length = (0..=target.len()).rev().find(|length| self.modules.contains_key(&target[..*length]))?;
        let (path, module) = self.modules.get_key_value(&target[..length])?;
        let Some(name) = target.get(length) else { return Some(&module.file) };
        let reexport = module.code.paths.iter().find(|path| {
            path.reexported && path.alias.as_ref().or(path.names.last()).is_some_and(|known| known == name)
        });
        match reexport.and_then(|reexport| absolute(path, &module.code, reexport)) {
            Some(next) if depth < 5 => self.file_of(&next, depth + 1),
            _ if length == 0 => None,
            _ => Some(&module.file),
        }
    }

    /// The rooms that the code of each room names.
    fn rooms_named(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (file, imported) in self.imports() {
            let Some(room) = part_of(file) else { continue };
            let rooms = imported.into_iter().filter_map(part_of).filter(|other| *other != room);
            named.entry(room).or_default().extend(rooms);
        }
        named
    }
}

/// `["plan", "steps"]` for `src/plan/steps.rs`, `["plan"]` for `src/plan/mod.rs`, nothing for the crate's own file.
fn module_path(file: &str) -> Vec<String> {
    let inside = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    if inside == "lib" { Vec::new() } else { inside.split('/').map(str::to_owned).collect() }
}

/// The path from the crate's root, for a path that stays in the crate.
fn absolute(module: &[String], code: &Code, used: &NamePath) -> Option<Vec<String>> {
    let (first, rest) = used.names.split_first()?;
    let mut start = match first.as_str() {
        "crate" | "echo_tester" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        // A name alone may be a variable.
        child if !rest.is_empty() && code.children.iter().any(|known| known == child) => {
            [module, std::slice::from_ref(first)].concat()
        }
        _ => return None,
    };
    for name in rest {
        match name.as_str() {
            "super" => {
                start.pop()?;
            }
            "self" => {}
            name => start.push(name.to_owned()),
        }
    }
    Some(start)
}

/// Sets of files each of which imports the others, directly or by way of them.
pub(crate) fn circles(imports: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Vec<String>> {
    let reachable = |from: &str| -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = imports.get(from).into_iter().flatten().copied().collect();
        while let Some(file) = next.pop() {
            if seen.insert(file.to_owned()) {
                next.extend(imports.get(file).into_iter().flatten());
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<String>> = imports.keys().map(|file| (*file, reachable(file))).collect();
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    for (file, reached) in &reach {
        if reached.contains(*file) {
            let comes_back = |other: &&String| reach.get(other.as_str()).is_some_and(|back| back.contains(*file));
            circles.insert(reached.iter().filter(comes_back).cloned().collect());
        }
    }
    circles.into_iter().collect()
}

/// The imports that make a circle, one a line.
pub(crate) fn arrows(circle: &[String], imports: &BTreeMap<&str, BTreeSet<&str>>) -> String {
    let within = |file: &String| imports.get(file.as_str()).into_iter().flatten().filter(|to| is_in(circle, to));
    fn is_in(circle: &[String], file: &str) -> bool {
        circle.iter().any(|known| known == file)
    }
    circle.iter().flat_map(|file| within(file).map(move |to| format!("\n  {file} imports {to}"))).collect()
}

/// Permissions of the table of layers that no code uses.
pub(crate) fn unused_permissions(tree: &Tree) -> Vec<String> {
    let named = tree.rooms_named();
    let is_used = |room: &str, other: &str| named.get(room).is_some_and(|rooms| rooms.contains(other));
    let of_room = |(room, allowed): &(&str, &[&str])| -> Vec<String> {
        let unused = allowed.iter().filter(|other| !is_used(room, other));
        unused.map(|other| format!("'{room}' may name '{other}' and does not")).collect()
    };
    LAYERS.iter().flat_map(of_room).collect()
}

/// Type names that stand in two files without being listed, and listed ones that do not.
pub(crate) fn homonyms(tree: &Tree, shared: &[(&str, &str)]) -> Vec<String> {
    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for module in tree.modules.values() {
        for defined in module.code.types.iter().filter(|defined| !defined.in_test) {
            places.entry(&defined.name).or_default().insert(&module.file);
        }
    }
    let twice: BTreeMap<_, _> = places.into_iter().filter(|(_, files)| is_two_types(files)).collect();
    let is_listed = |name: &str| shared.iter().any(|(listed, _)| *listed == name);
    let unlisted = twice.iter().filter(|(name, _)| !is_listed(name)).map(|(name, files)| {
        let files: Vec<&str> = files.iter().copied().collect();
        format!("'{name}' stands in {}", files.join(" and "))
    });
    let stale = shared.iter().filter(|(name, _)| !twice.contains_key(name));
    unlisted.chain(stale.map(|(name, _)| format!("'{name}' is listed and stands in one file"))).collect()
}

/// Whether a name in these files is that of several types. The halves of a file for two systems are one type.
fn is_two_types(files: &BTreeSet<&str>) -> bool {
    let halves = ["/unix.rs", "/windows.rs", "/linux.rs", "/macos.rs", "/other.rs"];
    let whole = |file: &&str| halves.iter().fold((*file).to_owned(), |file, half| file.replace(half, "/os.rs"));
    files.iter().map(whole).collect::<BTreeSet<_>>().len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() };
        Tree::of(&files.iter().map(file).collect::<Vec<_>>())
    }

    #[test]
    fn imports_are_followed_to_the_file_that_defines_the_name() {
        let tree = tree(&[
            ("src/lib.rs", "mod a;\nmod b;"),
            ("src/a/mod.rs", "mod deep;\npub use deep::Thing;\nstruct Own;"),
            ("src/a/deep.rs", "pub struct Thing;\nuse super::Own;"),
            ("src/b.rs", "use crate::a::{Own, Thing};\n#[cfg(test)]\nmod tests {\n    use crate::c;\n}"),
        ]);
        let imports = tree.imports();
        assert_eq!(imports["src/b.rs"], BTreeSet::from(["src/a/mod.rs", "src/a/deep.rs"]));
        assert_eq!(imports["src/a/deep.rs"], BTreeSet::from(["src/a/mod.rs"]));
        assert!(imports["src/a/mod.rs"].is_empty(), "a re-export is no import: {imports:?}");
        assert!(circles(&imports).is_empty());
    }

    #[test]
    fn a_circle_is_found_however_long_it_is() {
        let tree = tree(&[
            ("src/lib.rs", ""),
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "fn f() { super::c::g() }"),
            ("src/c.rs", "use super::a::A;"),
            ("src/d.rs", "use crate::a::A;"),
        ]);
        assert_eq!(circles(&tree.imports()), [["src/a.rs", "src/b.rs", "src/c.rs"]]);
    }

    #[test]
    fn a_file_that_a_document_names_and_that_is_not_there_is_told() {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file("docs/a.md", "see `src/b.rs`, src/c/.\nand (src/d.rs)"),
            file("src/b.rs", ""),
            file("src/c/e.rs", ""),
        ];
        assert_eq!(missing_files(&files), ["docs/a.md:2: src/d.rs is not there"]);
    }

    #[test]
    fn a_long_test_name_is_told_and_a_long_name_outside_of_tests_is_not() {
        let text = "fn not_a_test() {}\n#[cfg(test)]\nmod tests {\n    fn it_is_long() {}\n    fn short() {}\n}";
        let files = [SourceFile { path: "src/a.rs".to_owned(), text: text.to_owned() }];
        assert_eq!(long_test_names(&files, 8), ["src/a.rs:4: 10 characters"]);
    }

    #[test]
    fn a_function_is_long_from_its_first_line_to_its_last() {
        let found = long_functions(&tree(&[("src/a.rs", "fn short() {\n}\nfn long(\n) {\n}")]), 2);
        assert_eq!(found, ["src/a.rs:3: long has 3 lines"]);
    }

    #[test]
    fn a_permission_that_nobody_uses_is_told() {
        let unused = unused_permissions(&tree(&[("src/lib.rs", ""), ("src/failure.rs", "//! a")]));
        assert!(unused.contains(&"'failure' may name 'exit' and does not".to_owned()), "{unused:?}");
        let used = [("src/lib.rs", ""), ("src/failure.rs", "use crate::exit::Exit;"), ("src/exit.rs", "")];
        assert!(!unused_permissions(&tree(&used)).iter().any(|told| told.starts_with("'failure'")));
    }

    #[test]
    fn a_type_name_in_two_files_is_told_and_one_in_the_halves_for_two_systems_is_not() {
        let tree = tree(&[
            ("src/plan/a.rs", "struct Twice;\nstruct Once;"),
            ("src/client/b.rs", "enum Twice {}\n#[cfg(test)]\nmod tests {\n    struct Once;\n}"),
            ("src/sys/unix.rs", "type Half = u8;"),
            ("src/sys/windows.rs", "struct Half;"),
        ]);
        assert_eq!(homonyms(&tree, &[]), ["'Twice' stands in src/client/b.rs and src/plan/a.rs"]);
        let listed = [("Twice", "for a reason"), ("Once", "for none")];
        assert_eq!(homonyms(&tree, &listed), ["'Once' is listed and stands in one file"]);
    }
}
