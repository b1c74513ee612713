//! Results as people and machines read them: one file per format. Nothing here judges: verdicts, checks and exit codes
//! come from the judge, also for sums ([`merge`]) and for several runs ([`suite`], [`compare`]).
//!
//! [`run::RunReport`] is a run as data, [`suite::SuiteReport`] several cases, [`compare::CompareReport`] a comparison.
//! Every format is made of these alone, so the JSON holds whatever the terminal shows. [`mod@format`] is the table of
//! formats: a new one is a file and a row there.

mod advice;
mod backend_connections;
pub mod case_text;
pub mod closing;
pub mod compare;
pub mod compare_csv;
pub mod compare_figures;
pub mod compare_round;
mod compare_sweep_text;
pub mod compare_text;
pub mod document;
mod ending;
mod excerpt;
pub mod finding;
mod finding_list;
pub mod format;
pub mod github;
mod junit;
mod kept_rates;
pub mod live;
mod markdown;
pub mod merge;
pub mod minimal;
pub mod page;
mod quantity;
mod remarks;
pub mod run;
#[cfg(test)]
mod sample;
pub mod style;
pub mod suite;
pub mod table;
mod target_grid;
pub mod terminal;
pub mod text;
mod two_sides;
