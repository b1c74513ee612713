//! The documents of the repository, and their fenced blocks. A block with the language `sh` is run as it stands: see
//! [`Block::run`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use echo_tester::exit::Exit;

/// Longer than any block takes on a busy machine, in seconds. Afterwards `timeout` ends it.
const BLOCK_TIMEOUT_S: &str = "300";
/// The exit code of a script that finds no network namespace to set up, and that of 'unshare' without the right to one.
const NOT_HERE: i32 = 77;

/// Sets the block's network up: the loopback interface, and two echo servers that stand for those of the reader. They
/// are no jobs of the block's own shell, whose 'wait' is for the block's jobs.
const SETUP: &str = r#"
set -eo pipefail
ip link set lo up || exit 77
for port in 9000 8888; do
    (echo-tester serve --bind 127.0.0.1:$port --json >"$SCRATCH/$port" &)
    until [[ -s $SCRATCH/$port ]]; do sleep 0.05; done
done
"#;

/// The reader's own server: it takes the address as the documents say.
const MY_SERVER: &str = "#!/bin/sh\nexec echo-tester serve --bind \"$2\" --quiet\n";

/// A document, with its path from the root of the repository.
pub(crate) struct Document {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A fenced block.
#[derive(Clone)]
pub(crate) struct Block {
    /// `docs/scale.md:12`.
    pub(crate) place: String,
    /// What follows the language in the first line.
    pub(crate) remark: String,
    language: String,
    pub(crate) text: String,
    /// The files that other blocks of the same document describe: name and content.
    files: Vec<(String, String)>,
}

/// The result of a block that was run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    AsTold,
    /// Why it can't be run here.
    NotHere(String),
    /// The machine was too busy to judge it.
    Inconclusive(String),
    /// What went wrong.
    Wrong(String),
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn document(path: &str) -> Document {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    Document { path: path.to_owned(), text }
}

/// All documents that tell a reader what to type.
pub(crate) fn documents() -> Vec<Document> {
    let mut paths: Vec<String> = ["README.md", "CONTRIBUTING.md", "deploy/README.md"].map(str::to_owned).to_vec();
    for folder in ["docs", "docs/models"] {
        let entries = fs::read_dir(root().join(folder)).expect("the folder exists");
        let names = entries.map(|entry| entry.expect("the entry is readable").file_name());
        let names = names.map(|name| name.into_string().expect("the name is UTF-8"));
        paths.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")));
    }
    paths.sort();
    paths.iter().map(|path| document(path)).collect()
}

impl Document {
    /// The blocks of a language, in their order.
    pub(crate) fn blocks(&self, language: &str) -> Vec<Block> {
        let all = self.all_blocks();
        let files: Vec<(String, String)> = all.iter().filter_map(Block::as_file).collect();
        let wanted = all.into_iter().filter(|block| block.language == language);
        wanted.map(|block| Block { files: files.clone(), ..block }).collect()
    }

    fn all_blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (index, line) in self.text.lines().enumerate() {
            match (open.take(), line.strip_prefix("```")) {
                (None, None) => {}
                (None, Some(head)) => {
                    let (language, remark) = head.split_once(' ').unwrap_or((head, ""));
                    open = Some(Block {
                        place: format!("{}:{}", self.path, index + 1),
                        remark: remark.to_owned(),
                        language: language.to_owned(),
                        text: String::new(),
                        files: Vec::new(),
                    });
                }
                (Some(block), Some(_)) => blocks.push(block),
                (Some(mut block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                    open = Some(block);
                }
            }
        }
        assert!(open.is_none(), "{}: the last block does not end", self.path);
        blocks
    }
}

impl Block {
    /// A block in TOML whose first line is a comment with a file's name is that file.
    fn as_file(&self) -> Option<(String, String)> {
        let name = self.text.lines().next()?.strip_prefix("# ")?;
        (self.language == "toml" && name.ends_with(".toml")).then(|| (name.to_owned(), self.text.clone()))
    }

    /// A block for tests of this file.
    pub(crate) fn of(remark: &str, text: &str) -> Block {
        Block {
            place: "a test".to_owned(),
            remark: remark.to_owned(),
            language: "sh".to_owned(),
            text: text.to_owned(),
            files: Vec::new(),
        }
    }

    /// The reason of a block that can't be run in a test.
    pub(crate) fn reason_not_to_run(&self) -> Option<&str> {
        self.remark.strip_prefix("not-run: ")
    }

    /// The exit code that the block must have.
    fn exit_code(&self) -> i32 {
        match self.remark.split_once("exit=") {
            None => 0,
            Some((_, code)) => code.parse().unwrap_or_else(|_| panic!("{}: exit={code}", self.place)),
        }
    }

    /// A program that the block needs and this machine does not have.
    fn missing_program(&self) -> Option<&str> {
        let program = self.remark.strip_prefix("needs=")?;
        Command::new(program).arg("--version").output().is_err().then_some(program)
    }

    /// Runs the block in bash, as it stands, in an empty folder and in a network and a process namespace of its own. So
    /// its ports are free, and what it leaves running ends with it.
    pub(crate) fn run(&self) -> Ran {
        if let Some(program) = self.missing_program() {
            return Ran::NotHere(format!("not installed: {program}"));
        }
        let (folder, scratch) = (temporary_folder(), temporary_folder());
        self.fill(folder.path());
        let script = format!("{SETUP}cd \"$FOLDER\"\n{}", self.text);
        let program = Path::new(env!("CARGO_BIN_EXE_echo-tester"));
        let programs = program.parent().expect("the program lies in a folder").display();
        let path = format!("{programs}:{}", std::env::var("PATH").expect("there is a PATH"));
        let mut command = Command::new("timeout");
        command.args([BLOCK_TIMEOUT_S, "unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]);
        command.args(["--mount-proc", "bash", "-c", &script]);
        command.env("PATH", path).env("FOLDER", folder.path()).env("SCRATCH", scratch.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ECHO_TESTER_")) {
            command.env_remove(name);
        }
        let Ok(output) = command.output() else { return Ran::NotHere("no timeout or no unshare".to_owned()) };
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let code = output.status.code();
        if code == Some(NOT_HERE) || said.starts_with("unshare:") {
            return Ran::NotHere(format!("no network namespace: {said}"));
        }
        if code == Some(self.exit_code()) {
            return Ran::AsTold;
        }
        let what = format!("{}: exit code {code:?}, not {}\n{}\n{said}", self.place, self.exit_code(), self.text);
        if code == Some(i32::from(Exit::Inconclusive.code())) { Ran::Inconclusive(what) } else { Ran::Wrong(what) }
    }

    fn fill(&self, folder: &Path) {
        use std::os::unix::fs::{PermissionsExt, symlink};

        for name in ["scenarios", "deploy"] {
            symlink(root().join(name), folder.join(name)).expect("a link is made");
        }
        for (name, text) in &self.files {
            fs::write(folder.join(name), text).expect("a file is written");
        }
        let server = folder.join("my-server");
        fs::write(&server, MY_SERVER).expect("a file is written");
        fs::set_permissions(&server, PermissionsExt::from_mode(0o755)).expect("the file is ours");
    }
}

fn temporary_folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder is made")
}
