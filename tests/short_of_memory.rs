//! A machine that is short of memory, which here is a group of processes with a limit (cgroups, version 1 or 2). Where
//! the system gives no such group, the test says so and tests nothing.
#![cfg(target_os = "linux")]

use std::io::{self, Write};
use std::path::PathBuf;

use program::{Serving, said};

mod program;

/// Less than a server takes that keeps a megabyte for each of its connections, and more than it takes to start.
const LIMIT: &str = "20971520";

/// A group of processes that may use [`LIMIT`] bytes together. Dropping it removes it, when its processes have ended.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Option<Group> {
        let name = format!("echo-tester-{name}-{}", std::process::id());
        let places = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        let made = places.map(|(folder, limit)| {
            let group = Group(PathBuf::from(folder).join(&name));
            std::fs::create_dir(&group.0)?;
            // A folder of the system's has its files at once. Elsewhere this is no folder for groups.
            let mut limit = std::fs::OpenOptions::new().write(true).open(group.0.join(limit))?;
            limit.write_all(LIMIT.as_bytes())?;
            io::Result::Ok(group)
        });
        let group = made.into_iter().find_map(Result::ok);
        if group.is_none() {
            let _ = writeln!(io::stderr(), "SKIPPED: no memory cgroup can be made here");
        }
        group
    }

    /// A command line of sh that runs the program inside.
    fn inside(&self, program: &str) -> String {
        format!("echo 0 >{}/cgroup.procs && exec {program}", self.0.display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-tester");

#[test]
fn a_server_that_the_system_ends_for_its_memory_is_named_in_a_whole_report() {
    let Some(group) = Group::new("server") else { return };
    // By default it would take no more connections than half of this memory allows.
    let flags = "--model epoll --buffer 1MiB --max-conns 1000 --bind {addr} --quiet";
    let serve = group.inside(&format!("{PROGRAM} serve {flags}"));
    let scenario = format!(
        "name = 'short of memory'\n[server]\ncommand = ['sh', '-c', '{serve}']\n\
         [[load]]\nconns = 200\nmessages = 20\nsize = '1MiB'\nfragment = 'off'\npipeline = 8\nread = 'pause:2s'\n"
    );
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let file = folder.path().join("short.toml");
    std::fs::write(&file, scenario).expect("the folder can be written to");
    let (code, out, err) = said(&["run", &file.display().to_string(), "-q"]);
    assert_eq!(code, 1, "{out}{err}");
    let told = "got exited during the run (signal: 9 (SIGKILL); a system short of memory ends programs so: see dmesg)";
    let in_one_line: Vec<&str> = out.split_whitespace().collect();
    assert!(in_one_line.join(" ").contains(told) && out.contains("connect-failed"), "{out}{err}");
}

#[test]
fn a_client_that_is_short_of_memory_itself_accuses_nobody() {
    let Some(group) = Group::new("client") else { return };
    let server = Serving::start(&["-q"]);
    let blast = format!("{PROGRAM} blast {} --conns 500 --messages 20 --size 64KiB --pipeline 8 -q", server.address);
    let command = std::process::Command::new("sh").args(["-c", &group.inside(&blast)]).output().expect("sh runs");
    let said = format!("{}{}", program::text(&command.stdout), program::text(&command.stderr));
    // Where buffers of sockets count too, it may end without a report; where it has one, nothing is wrong in it.
    assert!(command.status.success() || command.status.code().is_none(), "{} {said}", command.status);
    assert!(!said.contains("verdict: fail"), "{said}");
    server.stop();
}
