//! The processes of a file, `[[process]]`: their names, and whether each placeholder stands for something that is known
//! when it is filled in. Processes start in the order of the file, and `[server]` last.

use super::error::ScenarioError;
use super::file::ScenarioFile;
use super::file_reader::FileReader;
use super::process_texts::{PlacedText, ProcessTexts};
use super::toml_path::{KeyStep, span_of_part};
use crate::config::{ProcessSpec, check_placeholders};

/// What errors and output call the server.
const SERVER: &str = "server";
/// What placeholders call this program itself, where it is the backend.
const BACKEND: &str = "backend";

impl FileReader<'_> {
    /// The processes of the file, in the order in which they start.
    ///
    /// # Errors
    /// A process makes no sense, two have one name, or a placeholder has no value at its time.
    pub(super) fn processes(
        self,
        file: &ScenarioFile,
        texts: &ProcessTexts,
    ) -> Result<Vec<ProcessSpec>, ScenarioError> {
        if file.server.is_none() && !file.process.is_empty() {
            let problem = "nothing connects to a process: add [server], which starts last and gets the connections";
            return Err(self.error_at(&[KeyStep::Key("process")], problem));
        }
        let mut processes: Vec<ProcessSpec> = Vec::new();
        for (i, table) in file.process.iter().enumerate() {
            let steps = [KeyStep::Key("process"), KeyStep::Index(i)];
            let process = table.resolve().map_err(|error| self.config_error(&steps, &error))?;
            if process.name == BACKEND && file.has_two_sides() {
                let steps = [&steps[..], &[KeyStep::Key("name")]].concat();
                let problem = "{backend} is this program itself here, because both ends are ours: choose another name";
                return Err(self.error_at(&steps, problem));
            }
            if processes.iter().any(|other| other.name == process.name) {
                let steps = [&steps[..], &[KeyStep::Key("name")]].concat();
                return Err(self.error_at(&steps, "another [[process]] has this name: give each its own"));
            }
            processes.push(process);
        }
        let names: Vec<&str> = processes.iter().map(|process| process.name.as_str()).chain([SERVER]).collect();
        // A process that only prepares something has no address.
        let has_address = |name: &&&str| processes.iter().any(|other| other.name == **name && !other.only_prepares());
        let all_texts = texts.of_processes.iter().chain([&texts.of_server]);
        for (i, texts) in all_texts.enumerate() {
            let earlier = names[..i].iter().filter(has_address).copied();
            let earlier: Vec<&str> = file.has_two_sides().then_some(BACKEND).into_iter().chain(earlier).collect();
            self.check_texts(texts, names[i], &earlier, &names[i + 1..])?;
        }
        Ok(processes)
    }

    fn check_texts(
        self,
        texts: &[PlacedText],
        own: &str,
        earlier: &[&str],
        later: &[&str],
    ) -> Result<(), ScenarioError> {
        for (span, text) in texts {
            check_placeholders(text, own, earlier, later).map_err(|error| {
                let span = span_of_part(self.text, span.clone(), &error.part);
                self.error(span, &error.problem)
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Readiness, ServerSpec};
    use crate::scenario::Scenario;

    const BACKEND: &str = "name = 'n'\n[[process]]\nname = 'backend'\nmodel = 'auto'\n";

    #[test]
    fn processes_start_in_the_order_of_the_file() {
        let text = format!(
            "{BACKEND}[[process]]\nname = 'proxy'\ncommand = ['p', '{{addr}}', '{{backend}}']\n[server]\n\
             command = ['q', '{{addr}}', '{{proxy.port}}', '{{dir}}/a']\nfiles = {{ a = '{{backend.host}}' }}\n[[load]]\n"
        );
        let case = Scenario::parse("a.toml", &text).unwrap_or_else(|error| panic!("{error}"));
        let names: Vec<&str> = case.processes.iter().map(|process| process.name.as_str()).collect();
        assert_eq!(names, ["backend", "proxy"]);
    }

    #[test]
    fn with_both_ends_ours_a_placeholder_knows_the_backend_and_nobody_waits_for_an_echo() {
        let text = "name = 'n'\n[backend]\n[[process]]\nname = 'first'\ncommand = ['p', '{addr}', '{backend}']\n\
                    [server]\ncommand = ['q', '{addr}', '{backend.port}']\n[[load]]\n";
        let case = Scenario::parse("a.toml", text).unwrap_or_else(|error| panic!("{error}"));
        let servers = case.processes.iter().map(|process| &process.server).chain(&case.server);
        for server in servers {
            assert!(matches!(server, ServerSpec::Command(command) if command.ready == Readiness::Connect));
        }
        let echo = text.replace("'{addr}', '{backend}']", "'{addr}']\nready = 'echo'");
        let case = Scenario::parse("a.toml", &echo).unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(&case.processes[0].server, ServerSpec::Command(command) if command.ready == Readiness::Echo));
    }

    #[test]
    fn an_error_shows_its_place_and_what_to_write() {
        let server = "[server]\ncommand = ['s', '{addr}']\n[[load]]\n";
        let keys = "[[process]]\nname = 'keys'\ncommand = ['k']\nready = 'exit'\n";
        for (text, place, remedy, marked) in [
            (format!("{BACKEND}[[load]]"), "--> a.toml:2:1", "add [server]", "^"),
            (
                format!("{BACKEND}[[process]]\nname = 'backend'\nmodel = 'auto'\n{server}"),
                ":6:8",
                "its own",
                "^^^^^^^^^",
            ),
            (
                format!("{BACKEND}[server]\ncommand = ['s', '{{addr}}', '--to={{bakend.addr}}']\n[[load]]"),
                ":6:33",
                "did you mean {backend.addr}?",
                "                ^^^^^^^^^^^^^",
            ),
            (
                format!(
                    "{BACKEND}[server]\ncommand = ['s']\n[server.files]\n's.cfg' = '''\na {{addr}}\nb {{proxy.port}}'''\n[[load]]"
                ),
                "a.toml:10:3",
                "there is no process 'proxy' before this one: there is backend",
                "^^^^^^^^^^^^",
            ),
            (
                format!(
                    "name = 'n'\n[[process]]\nname = 'a'\ncommand = ['a', '{{addr}}', '{{b}}']\n[[process]]\nname = 'b'\nmodel = 'auto'\n{server}"
                ),
                ":4:28",
                "move 'b' above 'a'",
                "^^^",
            ),
            (
                format!(
                    "name = 'n'\n[[process]]\nname = 'a'\ncommand = ['a', '{{addr}}', '{{server.addr}}']\n{server}"
                ),
                ":4:28",
                "'server' starts after 'a'",
                "^^^^^^^^^^^^^",
            ),
            (
                format!("name = 'n'\n{keys}[server]\ncommand = ['a', '{{addr}}', '{{keys.addr}}']\n[[load]]"),
                ":7:28",
                "no process 'keys'",
                "^",
            ),
            (format!("{BACKEND}[backend]\n{server}"), ":3:8", "{backend} is this program itself here", "^^^^^^^^^"),
            (
                "name = 'n'\n[server]\ncommand = ['s', '{addr}', '{backend.addr}']\n[[load]]".to_owned(),
                ":3:28",
                "no process 'backend'",
                "^",
            ),
            (format!("{BACKEND}env = {{ A = '1' }}\n{server}"), ":5:7", "add command", "^^^"),
            (format!("{BACKEND}ready = 'up'\n{server}"), ":5:9", "exit", "^^^^"),
            (format!("{BACKEND}comand = ['a']\n{server}"), ":5:1", "did you mean `command`?", "^^^^^^"),
            (format!("name = 'n'\n[[process]]\nmodel = 'auto'\n{server}"), ":2:1", "write name = ", "^"),
        ] {
            let error = Scenario::parse("a.toml", &text).expect_err(&text).to_string();
            assert!(error.contains(place) && error.contains(remedy) && error.contains(marked), "{text}\n{error}");
        }
    }

    #[test]
    fn a_case_is_another_one_with_other_processes() {
        let read = |text: &str| Scenario::parse("a.toml", text).unwrap_or_else(|error| panic!("{error}"));
        let text = format!("{BACKEND}[server]\n[[load]]\n");
        let (one, without) = (read(&text), read("name = 'n'\n[server]\n[[load]]\n"));
        assert!(one.is_same_as(&one.clone()) && !one.is_same_as(&without));
    }
}
