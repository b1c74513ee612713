//! One struct serves flag, TOML key and environment variable: these tests walk it.

use clap::{Args, Command};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use crate::units::text::checks;

fn command<T: Args>() -> Command {
    T::augment_args(Command::new("blast"))
}

fn typed<T: Args>(flags: &[&str]) -> Result<T, clap::Error> {
    let matches = command::<T>().try_get_matches_from(std::iter::once("blast").chain(flags.iter().copied()))?;
    T::from_arg_matches(&matches)
}

fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

/// The keys of the published schema, each with its own definition.
fn properties<T: schemars::JsonSchema>() -> Vec<(String, Value)> {
    let schema = serde_json::to_value(schemars::schema_for!(T)).expect("a schema is JSON");
    let resolve = |property: &Value| {
        let referred = property["anyOf"][0]["$ref"]
            .as_str()
            .or(property["items"]["$ref"].as_str())
            .and_then(|path| schema.pointer(&path[1..]));
        referred.unwrap_or(property).clone()
    };
    let properties = schema["properties"].as_object().expect("a struct has properties");
    properties.iter().map(|(key, property)| (key.clone(), resolve(property))).collect()
}

/// A value that a key accepts.
fn example(property: &Value) -> String {
    match (&property["examples"][0], &property["oneOf"][0]["const"]) {
        (Value::String(text), _) | (_, Value::String(text)) => text.clone(),
        _ => "true".to_owned(),
    }
}

fn every_field_is_a_flag_a_key_and_a_variable<T>()
where
    T: Args + DeserializeOwned + schemars::JsonSchema + PartialEq + std::fmt::Debug + Default,
{
    let command = command::<T>();
    let mut keys: Vec<String> = properties::<T>().into_iter().map(|(key, _)| key).collect();
    keys.retain(|key| key != "name");
    let mut flags: Vec<String> = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
    flags.sort();
    keys.sort();
    assert_eq!(flags, keys);
    for (key, property) in properties::<T>().into_iter().filter(|(key, _)| key != "name") {
        let argument =
            command.get_arguments().find(|arg| arg.get_id() == key.as_str()).expect("flags and keys are the same");
        let flag = key.replace('_', "-");
        assert_eq!(argument.get_long(), Some(flag.as_str()));
        let variable = format!("ECHO_TESTER_{}", key.to_uppercase());
        assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));

        let value = example(&property);
        let by_flag: T = typed(&[&format!("--{flag}={value}")]).unwrap_or_else(|error| panic!("{key}: {error}"));
        // What has no example takes 'true': as a switch, as a text, or as the only one of several.
        let forms = [value.clone(), format!("{value:?}"), format!("[{value:?}]")];
        let mut by_key = forms.iter().map(|form| from_toml::<T>(&format!("{key} = {form}")));
        let by_key = by_key.find_map(Result::ok).unwrap_or_else(|| panic!("{key} takes none of {forms:?}"));
        assert_eq!(by_flag, by_key, "{key}");
        assert_ne!(by_flag, T::default(), "{key}");
    }
}

#[test]
fn every_field_of_a_load_group_is_a_flag_a_key_and_a_variable() {
    every_field_is_a_flag_a_key_and_a_variable::<LoadArgs>();
}

#[test]
fn every_field_of_a_run_is_a_flag_a_key_and_a_variable() {
    every_field_is_a_flag_a_key_and_a_variable::<RunArgs>();
}

#[test]
fn clap_accepts_the_declarations_of_the_flags() {
    command::<LoadArgs>().debug_assert();
    RunArgs::augment_args(command::<LoadArgs>()).debug_assert();
}

#[test]
fn the_short_flags_are_the_customary_ones() {
    let args: LoadArgs = typed(&["-c", "500", "-d", "10s", "-n", "20", "-r", "10k"]).expect("the options are valid");
    let long: LoadArgs = typed(&["--conns", "500", "--duration", "10s", "--messages", "20", "--rate", "10k"])
        .expect("the options are valid");
    assert_eq!(args, long);
}

/// The default in brackets: `100 if nothing else ends it` in `[default: 100 if nothing else ends it]`.
fn stated_default(argument: &clap::Arg) -> Option<String> {
    let help = argument.get_help()?.to_string();
    let start = help.find("[default: ")? + "[default: ".len();
    Some(help[start..].trim_end_matches(']').to_owned())
}

#[test]
fn the_help_states_the_real_defaults() {
    const PROSE: &[&str] =
        &["closed loop", "no limit", "all at once", "the system's choice", "the stream's own", "none", "never"];
    let default = LoadArgs::default().resolve("load").expect("the defaults are valid");
    for argument in command::<LoadArgs>().get_arguments() {
        let id = argument.get_id();
        // Without a backend they have no value, and with one the defaults of others.
        if id.as_str().starts_with("backend_") {
            continue;
        }
        let stated = stated_default(argument).unwrap_or_else(|| panic!("the help of {id} states no default"));
        let value = stated.split([';', ' ']).next().expect("split returns at least one part");
        if PROSE.contains(&stated.as_str()) {
            continue;
        }
        let flag = format!("--{}={value}", argument.get_long().expect("each argument is a long flag"));
        let args: LoadArgs = typed(&[&flag]).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(args.resolve("load"), Ok(default.clone()), "{id} = {value}");
    }
}

#[test]
fn an_invalid_value_is_refused_with_its_flag_and_what_to_write() {
    let refusal = |flags: &[&str]| typed::<LoadArgs>(flags).expect_err("the value is refused").to_string();
    let said = refusal(&["--size", "9..3"]);
    assert!(said.contains("'9..3' for '--size <SIZES>': the range 9..3 is empty: did you mean 3..9?"), "{said}");
    let said = refusal(&["--fragment", "12XB"]);
    assert!(said.contains("unknown unit XB of bytes"), "{said}");
    let said = refusal(&["--close", "fin"]);
    assert!(said.contains("half-close") && said.contains("abandon"), "{said}");
}

#[test]
fn an_error_in_toml_names_its_line_and_column() {
    let said = from_toml::<LoadArgs>("conns = 5\nsize = \"9..3\"\n").expect_err("the value is refused");
    assert!(said.contains("line 2, column 8"), "{said}");
    assert!(said.contains("the range 9..3 is empty: did you mean 3..9?"), "{said}");
    let said = from_toml::<LoadArgs>("connect-rate = 5\n").expect_err("the value is refused");
    assert!(said.contains("unknown field `connect-rate`") && said.contains("`connect_rate`"), "{said}");
    let said = from_toml::<LoadArgs>("conns = true\n").expect_err("the value is refused");
    assert!(said.contains("expected a count such as 500, 19k (19,000)"), "{said}");
    let said = from_toml::<LoadArgs>("conns = -5\n").expect_err("the value is refused");
    assert!(said.contains("-5 is negative"), "{said}");
}

#[test]
fn toml_accepts_plain_numbers_if_no_unit_is_needed() {
    let numbers: LoadArgs =
        from_toml("conns = 5\nsize = 64\nrate = 0.5\npipeline = 2\nfragment = 1\n").expect("the options are valid");
    let texts: LoadArgs = from_toml("conns = '5'\nsize = '64'\nrate = '0.5'\npipeline = '2'\nfragment = '1'\n")
        .expect("the options are valid");
    assert_eq!(numbers, texts);
}

#[test]
fn a_boolean_flag_needs_no_value() {
    let set: LoadArgs = typed(&["--fail-fast", "--nagle"]).expect("the options are valid");
    assert_eq!((set.fail_fast, set.nagle), (Some(true), Some(true)));
    let unset: LoadArgs = typed(&["--fail-fast=false"]).expect("the options are valid");
    assert_eq!((unset.fail_fast, unset.nagle), (Some(false), None));
}

#[test]
fn options_are_written_back_as_flags_that_mean_the_same() {
    let mut flags: Vec<String> = Vec::new();
    for (key, property) in properties::<LoadArgs>().into_iter().filter(|(key, _)| key != "name") {
        flags.push(format!("--{}={}", key.replace('_', "-"), example(&property)));
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let args: LoadArgs = typed(&flags).expect("the examples are valid");
    let again = args.to_flags();
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    assert_eq!(typed::<LoadArgs>(&again).expect("the flags are valid"), args);

    let run: RunArgs = typed(&["--seed", "0x2a", "--only-conn", "3,4"]).expect("the options are valid");
    assert_eq!(run.to_flags(), ["--only-conn", "3,4", "--seed", "42"]);
    assert_eq!(LoadArgs { name: Some("a".to_owned()), ..LoadArgs::default() }.to_flags(), [""; 0]);
}

#[test]
fn options_written_as_toml_are_read_back_unchanged() {
    let args: LoadArgs =
        typed(&["-c", "19k", "--size", "log:1..1MiB", "--gap", "0..5ms", "--nagle"]).expect("the options are valid");
    let text = toml::to_string(&args).expect("options can be written as TOML");
    assert_eq!(from_toml::<LoadArgs>(&text).expect("the written TOML is valid"), args);
}

#[test]
fn the_examples_of_the_schemas_are_true() {
    checks::examples_are_valid::<Fragment>();
    checks::examples_are_valid::<Pipeline>();
    checks::examples_are_valid::<Seed>();
    checks::examples_are_valid::<ConnList>();
    checks::examples_are_valid::<StartTime>();
    checks::examples_are_valid::<SourceAddresses>();
}

proptest! {
    #[test]
    fn any_text_is_accepted_as_the_schema_says_or_refused_in_words(text in checks::texts()) {
        checks::any_text_is_handled::<Fragment>(&text);
        checks::any_text_is_handled::<Pipeline>(&text);
        checks::any_text_is_handled::<Seed>(&text);
        checks::any_text_is_handled::<ConnList>(&text);
        checks::any_text_is_handled::<StartTime>(&text);
        checks::any_text_is_handled::<SourceAddresses>(&text);
    }
}
