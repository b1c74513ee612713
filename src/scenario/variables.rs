//! Variables in scenario files: `${NAME}` and `${NAME:-default}` inside of string values, as in a shell; `$$` is a `$`.
//!
//! A value comes from `--set NAME=VALUE`, else from the environment, else from the default. If there is a default, an
//! empty value counts as absent, as in a shell with `:-`. A `$` before anything else stands for itself. Keys and
//! comments are left alone, and so is the value of a variable: it is not searched for variables again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Location, ScenarioError};
use super::plain_words;
use super::toml_path::span_of_part;
use crate::units::nearest::nearest;

/// The values of variables, and which variables the files use.
pub struct Variables {
    /// Values from the command line.
    set: BTreeMap<String, String>,
    environment: fn(&str) -> Option<String>,
    /// The names of variables whose values are to be in no report, beside those that [`is_secret_name`] tells.
    secret: BTreeSet<String>,
    /// Every variable of the files that were read.
    seen: RefCell<BTreeSet<String>>,
    /// The secret variables of these files, with their values.
    secrets: RefCell<BTreeMap<String, String>>,
}

/// The variables that took their value from the environment, and that value.
pub type Environment = BTreeMap<String, String>;

/// Where the token of `[backend]` is, if it has a variable.
fn token_with_variable(document: &DeTable<'_>) -> Option<Range<usize>> {
    let token = document.get("backend")?.get_ref().get("token")?;
    let text = token.get_ref().as_str()?;
    text.replace("$$", "").contains("${").then(|| token.span())
}

/// Why the variables of a text could not be filled in.
struct FillError {
    /// The part of the text that is wrong.
    part: String,
    problem: String,
}

impl Variables {
    /// Values from the command line, which take precedence, and where to look up others.
    pub fn new(set: impl IntoIterator<Item = (String, String)>, environment: fn(&str) -> Option<String>) -> Variables {
        let set = set.into_iter().collect();
        Variables { set, environment, secret: BTreeSet::new(), seen: RefCell::default(), secrets: RefCell::default() }
    }

    /// The same with variables of these names being secret, whatever they are called.
    #[must_use]
    pub fn with_secrets(self, names: impl IntoIterator<Item = String>) -> Variables {
        Variables { secret: names.into_iter().collect(), ..self }
    }

    /// No variables at all.
    pub fn none() -> Variables {
        Variables::new([], |_| None)
    }

    /// Whether the value of this variable is to be in no report.
    pub fn is_secret(&self, name: &str) -> bool {
        self.secret.contains(name) || is_secret_name(name)
    }

    /// The secret variables of the files that were read so far, with their values.
    pub fn secrets(&self) -> BTreeMap<String, String> {
        self.secrets.borrow().clone()
    }

    /// A variable of the command line that no file read so far uses, as a sentence with what was likely meant.
    pub fn unused(&self) -> Option<String> {
        let seen = self.seen.borrow();
        let (name, value) = self.set.iter().find(|(name, _)| !seen.contains(*name))?;
        let names = || seen.iter().map(String::as_str);
        let remedy = match nearest(name, names()) {
            Some(meant) => format!("did you mean {meant}?"),
            None if seen.is_empty() => "they have no variables at all: leave it out".to_owned(),
            None => format!("the variables are {}", names().collect::<Vec<_>>().join(", ")),
        };
        let value = if self.is_secret(name) { "…" } else { value };
        Some(format!("--set {name}={value}: ${{{name}}} is not used in any file: {remedy}"))
    }

    /// Parses a file and fills in its variables. Places stay those of the text. Also gives the variables that took
    /// their value from the environment.
    pub(super) fn read<'t>(
        &self,
        path: &str,
        text: &'t str,
    ) -> Result<(Spanned<DeTable<'t>>, Environment), ScenarioError> {
        let error_at = |span, problem: &str| ScenarioError::new(problem, Location::new(path, text, span));
        let mut document = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            error_at(span.clone(), &plain_words::of_syntax(error.message(), text, span))
        })?;
        if let Some(span) = token_with_variable(document.get_ref()) {
            let problem = "the values of variables stand in replay lines, and a token must not: leave it out here, and give \
                           it in the environment variable ECHO_TESTER_BACKEND_TOKEN";
            return Err(error_at(span, problem));
        }
        let mut from = Environment::new();
        for (_, value) in document.get_mut().iter_mut() {
            self.fill_in_value(value, text, &mut from).map_err(|(span, problem)| error_at(span, &problem))?;
        }
        Ok((document, from))
    }

    fn fill_in_value(
        &self,
        value: &mut Spanned<DeValue<'_>>,
        text: &str,
        from: &mut Environment,
    ) -> Result<(), (Range<usize>, String)> {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(string) if string.contains('$') => {
                let filled_in = self
                    .fill_in(string, from)
                    .map_err(|error| (span_of_part(text, span, &error.part), error.problem))?;
                *string = filled_in.into();
            }
            DeValue::Array(values) => {
                for value in values.iter_mut() {
                    self.fill_in_value(value, text, from)?;
                }
            }
            DeValue::Table(table) => {
                for (_, value) in table.iter_mut() {
                    self.fill_in_value(value, text, from)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fill_in(&self, text: &str, from: &mut Environment) -> Result<String, FillError> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                filled.push('$');
                rest = after;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let (inside, after) = inside.split_once('}').ok_or_else(|| FillError {
                    part: format!("${rest}"),
                    problem: "a } is missing: write ${NAME} or ${NAME:-default}; a literal $ is $$".to_owned(),
                })?;
                filled.push_str(&self.value(inside, from)?);
                rest = after;
            } else {
                filled.push('$');
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// The value of `NAME` or `NAME:-default`.
    fn value(&self, inside: &str, from: &mut Environment) -> Result<String, FillError> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let error = |problem: String| FillError { part: format!("${{{inside}}}"), problem };
        if !is_name(name) {
            let problem = format!("'{name}' is not a name: write ${{NAME}} or ${{NAME:-default}}; a literal $ is $$");
            return Err(error(problem));
        }
        if default.is_some_and(|default| default.contains("${")) {
            // The first } would end both, silently.
            let problem = format!(
                "a default is plain text and holds no other variable: write ${{{name}:-default}}, and give the value of the \
                 other one by --set {name}=…"
            );
            return Err(error(problem));
        }
        self.seen.borrow_mut().insert(name.to_owned());
        let is_set = self.set.contains_key(name);
        let value = self.set.get(name).cloned().or_else(|| (self.environment)(name));
        match (value.filter(|value| default.is_none() || !value.is_empty()), default) {
            (Some(value), _) => {
                if !is_set {
                    from.insert(name.to_owned(), value.clone());
                }
                if self.is_secret(name) {
                    self.secrets.borrow_mut().insert(name.to_owned(), value.clone());
                }
                Ok(value)
            }
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(error(format!(
                "${{{name}}} has no value: add --set {name}=…, set the environment variable, or write ${{{name}:-default}}"
            ))),
        }
    }
}

/// Whether this can be the name of a variable.
pub fn is_name(text: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(is_start) && text.chars().all(|c| is_start(c) || c.is_ascii_digit())
}

/// What the name of a secret contains.
const SECRET_PARTS: [&str; 5] = ["PASSWORD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL"];
/// What the name of a secret has as one of its words. In a longer word it means nothing: `KEYBOARD`, `AUTHOR`.
const SECRET_WORDS: [&str; 5] = ["PASS", "PASSWD", "KEY", "APIKEY", "AUTH"];

/// Whether a variable of this name holds what nobody is to read, as names go: `DB_PASSWORD`, `API_KEY`, `GITHUB_TOKEN`.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_PARTS.iter().any(|part| name.contains(part)) || name.split('_').any(|word| SECRET_WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_and_others_can_be_told() {
        let secret =
            ["PASSWORD", "DB_PASSWORD", "PGPASSWORD", "GITHUB_TOKEN", "api_key", "AUTH", "PROXY_PASS", "MYSECRET"];
        let plain = ["PORT", "KEYBOARD", "AUTHOR", "PWD", "COMPASS", "MONKEY"];
        assert!(secret.iter().all(|name| is_secret_name(name)) && !plain.iter().any(|name| is_secret_name(name)));
        let set = [("PIN", "4711"), ("TOKEN", "sesame"), ("SIZE", "64")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables::new(set, |_| None).with_secrets(["PIN".to_owned()]);
        variables.read("a.toml", "a = '${PIN} ${TOKEN} ${SIZE}'").unwrap_or_else(|error| panic!("{error}"));
        let secrets = variables.secrets();
        assert_eq!(secrets.keys().collect::<Vec<_>>(), ["PIN", "TOKEN"]);
        assert_eq!(secrets["PIN"], "4711");
        let unused = Variables::new([("A_TOKEN".to_owned(), "sesame".to_owned())], |_| None).unused();
        assert!(unused.is_some_and(|said| said.contains("--set A_TOKEN=…:") && !said.contains("sesame")));
    }

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOME_PORT" => Some("81".to_owned()),
            "SIZE" => Some("from the environment".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn variables() -> Variables {
        Variables::new([("SIZE".to_owned(), "64".to_owned()), ("DOLLAR".to_owned(), "${SIZE}".to_owned())], environment)
    }

    fn filled_in(value: &str) -> String {
        let text = format!("a = [{{ b = '{value}' }}]");
        let (document, _) = variables().read("a.toml", &text).unwrap_or_else(|error| panic!("{error}"));
        let value = document.get_ref()["a"].get_ref()[0].get_ref()["b"].get_ref();
        value.as_str().expect("a string").to_owned()
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_default() {
        assert_eq!(filled_in("${SIZE:-1}"), "64");
        assert_eq!(filled_in("1..${HOME_PORT:-1}"), "1..81");
        assert_eq!(filled_in("${NONE:-1..4KiB} ${NONE:-}"), "1..4KiB ");
        assert_eq!(filled_in("${EMPTY:-x}${EMPTY}"), "x");
        assert_eq!(filled_in("${SIZE}${SIZE}"), "6464");
    }

    #[test]
    fn only_values_that_came_from_the_environment_are_reported_as_such() {
        let text = "a = '${SIZE}${HOME_PORT:-1}${EMPTY:-x}${NONE:-5}'\nb = ['${EMPTY}']\n# ${PATH}";
        let (_, from) = variables().read("a.toml", text).unwrap_or_else(|error| panic!("{error}"));
        let from: Vec<(&str, &str)> = from.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(from, [("EMPTY", ""), ("HOME_PORT", "81")]);
    }

    #[test]
    fn a_dollar_without_a_brace_stands_for_itself_and_values_are_not_searched() {
        assert_eq!(filled_in("$$ $${SIZE} $HOME 5$"), "$ ${SIZE} $HOME 5$");
        assert_eq!(filled_in("${DOLLAR}"), "${SIZE}");
    }

    #[test]
    fn a_variable_without_a_value_is_shown_with_its_place_and_a_remedy() {
        for (text, place, remedy, marked) in [
            ("x = 1\na = 'b ${NONE} c'", "--> a.toml:2:8\n", "--set NONE=", "^^^^^^^"),
            ("a = ['$', '${NONE}']", "--> a.toml:1:12\n", "${NONE:-default}", "^^^^^^^"),
            ("a = 'x${SIZE'", "--> a.toml:1:7\n", "a } is missing", "^^^^^^"),
            ("a = '${1}'", "--> a.toml:1:6\n", "'1' is not a name", "^^^^"),
            ("a = '${A-1}'", "--> a.toml:1:6\n", "'A-1' is not a name", "^^^^^^"),
            (
                "a = '${SIZE:-${NONE}}'",
                "--> a.toml:1:6\n",
                "holds no other variable: write ${SIZE:-default}",
                "^^^^^^^^^^^^^^^",
            ),
            ("a = '${A:-x$${B}}'", "--> a.toml:1:6\n", "a default is plain text", "^^^^^^^^^^^"),
            ("[t]\na = \"\\t${NONE}\"", "--> a.toml:2:8\n", "no value", "^^^^^^^"),
        ] {
            let error = variables().read("a.toml", text).expect_err(text).to_string();
            assert!(error.contains(place) && error.contains(remedy) && error.ends_with(marked), "{text}\n{error}");
        }
    }

    #[test]
    fn an_unused_variable_is_answered_with_the_one_that_was_likely_meant() {
        let typed = |name: &str| {
            let variables = Variables::new([(name.to_owned(), "5".to_owned())], environment);
            variables.read("a.toml", "# ${CONNS}\na = '${CONNS:-1} ${SIZE} $${ESCAPED}'").expect("the file is valid");
            variables.unused()
        };
        assert_eq!(typed("CONNS"), None);
        let message = "--set CONS=5: ${CONS} is not used in any file: did you mean CONNS?";
        assert_eq!(typed("CONS").as_deref(), Some(message));
        assert!(typed("XYZ").expect("unused").ends_with("the variables are CONNS, SIZE"));
        assert!(typed("ESCAPED").is_some());
        let variables = variables();
        variables.read("a.toml", "a = 1").expect("the file is valid");
        assert!(variables.unused().expect("unused").contains("no variables at all"));
    }
}
