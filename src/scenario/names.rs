//! Whether every case has its own name. CI systems know a test by its name: of two with the same name they show one.

use super::case::Scenario;
use super::error::ScenarioError;

/// Checks that no two cases have the same id and name, and that only one case against several servers repeats an id.
///
/// # Errors
/// Both places, and what to do.
pub fn check(cases: &[&Scenario]) -> Result<(), ScenarioError> {
    for (i, case) in cases.iter().enumerate() {
        let mut earlier = cases[..i].iter();
        // One case against several servers is told apart by the rest of its name.
        let same_id = |other: &&&Scenario| !case.id.is_empty() && other.id == case.id && !other.is_written_as(case);
        let duplicate = match earlier.clone().find(|other| other.title() == case.title()) {
            Some(other) => Some((other, format!("is called '{}'", case.title()))),
            None => earlier.find(same_id).map(|other| (other, format!("has the id {}", case.id))),
        };
        if let Some((other, what)) = duplicate {
            let remedy = "reports would show only one of them: give each its own, or run them separately";
            let error = ScenarioError::new(format!("another case {what}: {remedy}"), case.name_location.clone());
            return Err(error.with_related(other.name_location.clone(), "the other case"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Variables;

    /// The error about the cases of these files, named a.toml, b.toml …
    fn error(files: &[&str]) -> Option<String> {
        let read = |(name, text): (char, &&str)| {
            let cases = Scenario::read(&format!("{name}.toml"), text, &Variables::none(), false);
            cases.unwrap_or_else(|error| panic!("{error}"))
        };
        let cases: Vec<Scenario> = ('a'..).zip(files).flat_map(read).collect();
        check(&cases.iter().collect::<Vec<_>>()).err().map(|error| error.to_string())
    }

    #[test]
    fn a_repeated_name_is_shown_with_both_places() {
        let smoke = "name = 'smoke'\n[[load]]\n";
        let error = error(&[smoke, "name = 'n'\n[[load]]\n", "# smoke\nname = 'smoke'\n[[load]]\n"]);
        insta::assert_snapshot!(error.expect("a.toml and c.toml have the same name"), @r"
        another case is called 'smoke': reports would show only one of them: give each its own, or run them separately
         --> c.toml:2:8
          |
        2 | name = 'smoke'
          |        ^^^^^^^
          |
         ::: a.toml:1:8
          |
        1 | name = 'smoke'
          |        ------- the other case
        ");
    }

    #[test]
    fn a_repeated_id_is_wrong_unless_it_is_one_case_against_several_servers() {
        let repeated = error(&["name = 'a'\nid = '1.1'\n[[load]]\n", "name = 'b'\nid = '1.1'\n[[load]]\n"]);
        assert!(repeated.is_some_and(|error| error.contains("has the id 1.1") && error.contains("a.toml:")));
        let suite = |server: &str| format!("name = '{server}'\nsuite = 'conformance'\n[server]\n{server}\n");
        let [one, two, models] = ["model = \"select\"", "model = \"tokio\"", "models = \"select,tokio\""].map(suite);
        assert_eq!(error(&[&one, &two, &models]), None);
        let error = error(&[&one, &one.replace("suite", "  suite")]).expect("two files have the same name");
        assert!(error.contains("another case is called '1.1 one byte [model"), "{error}");
        assert!(error.contains("--> b.toml:2:11\n"), "{error}");
    }
}
