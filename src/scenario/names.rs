//! Whether every case has a name of its own. CI systems know a test by its name: of two with one name they show one.

use super::Scenario;
use super::place::{at, mark};

/// Whether no two of these have the same id and name, nor cases that have nothing to do with each other the same id.
///
/// # Errors
/// A text for people: both places, and what to do.
pub fn check(cases: &[&Scenario]) -> Result<(), String> {
    for (i, case) in cases.iter().enumerate() {
        let mut before = cases[..i].iter();
        // One case against several servers is told apart by the rest of its name.
        let same_id = |other: &&&Scenario| !case.id.is_empty() && other.id == case.id && !other.is_written_as(case);
        let twice = match before.clone().find(|other| other.title() == case.title()) {
            Some(other) => Some((other, format!("is called '{}'", case.title()))),
            None => before.find(same_id).map(|other| (other, format!("has the id {}", case.id))),
        };
        if let Some((other, what)) = twice {
            let there = at(&other.path, &other.named.text, &other.named.span);
            let remedy = "reports would show one of them: give each its own, or run them apart";
            let problem = format!("another case {what}, at {there}: {remedy}");
            return Err(mark(&case.path, &case.named.text, case.named.span.clone(), &problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Variables;

    /// What is wrong with the cases of these files, named a.toml, b.toml …
    fn wrong(files: &[&str]) -> Option<String> {
        let read = |(name, text): (char, &&str)| {
            let cases = Scenario::read(&format!("{name}.toml"), text, &Variables::none(), false);
            cases.unwrap_or_else(|error| panic!("{error}"))
        };
        let cases: Vec<Scenario> = ('a'..).zip(files).flat_map(read).collect();
        check(&cases.iter().collect::<Vec<_>>()).err()
    }

    #[test]
    fn a_name_that_stands_twice_is_shown_with_both_places() {
        let smoke = "name = 'smoke'\n[[load]]\n";
        let error = wrong(&[smoke, "name = 'n'\n[[load]]\n", "# smoke\nname = 'smoke'\n[[load]]\n"]);
        let error = error.expect("a and c");
        assert!(error.starts_with("c.toml:2:8: another case is called 'smoke', at a.toml:1:8: "), "{error}");
        assert!(error.ends_with("2 | name = 'smoke'\n  |        ^^^^^^^"), "{error}");
    }

    #[test]
    fn an_id_that_stands_twice_is_wrong_too_but_for_one_case_against_several_servers() {
        let error = wrong(&["name = 'a'\nid = '1.1'\n[[load]]\n", "name = 'b'\nid = '1.1'\n[[load]]\n"]);
        assert!(error.is_some_and(|error| error.contains("has the id 1.1, at a.toml:")));
        let suite = |server: &str| format!("name = '{server}'\nsuite = 'conformance'\n[server]\n{server}\n");
        let [one, two, models] = ["model = \"select\"", "model = \"tokio\"", "models = \"select,tokio\""].map(suite);
        assert_eq!(wrong(&[&one, &two, &models]), None);
        let error = wrong(&[&one, &one.replace("suite", "  suite")]).expect("the same name in two files");
        assert!(error.contains("b.toml:2:11: another case is called '1.1 one byte [model"), "{error}");
    }
}
