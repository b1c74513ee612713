//! What concerns a run as a whole and not one load group: the seed, the workers, the share of a run.

use std::time::{Duration, SystemTime};

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;
use super::error::ConfigError;
use super::forms::{ConnList, Instant, Seed, flags};
use super::sources::Sources;
use crate::plan::{ConnId, Shard};
use crate::units::{Count, Time};

/// The flags of a run. Each field is a flag, a TOML key and an environment variable, as in `LoadArgs`.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[command(next_help_heading = "Run")]
#[serde(deny_unknown_fields)]
pub struct RunArgs {
    /// What all randomness follows from [default: drawn, and printed]
    #[arg(long, value_name = "SEED", env = "ECHO_TESTER_SEED", hide_env = true)]
    pub seed: Option<Seed>,

    /// Threads [default: one for each core]
    #[arg(long, value_name = "N", env = "ECHO_TESTER_WORKERS", hide_env = true)]
    pub workers: Option<Count>,

    /// Addresses to connect from: 10.0.0.5,10.0.0.6 or 127.0.0.0/8 [default: the system's choice]
    ///
    /// Each address has its own ports: some 28,000 on Linux, 16,000 elsewhere. To a loopback target addresses are
    /// spread over 127.0.0.0/8 without being asked.
    #[arg(long, value_name = "ADDRESSES", env = "ECHO_TESTER_SOURCE", hide_env = true)]
    pub source: Option<Sources>,

    /// Run these connections alone, with the plans they have in the whole run
    #[arg(long, value_name = "ID,…", env = "ECHO_TESTER_ONLY_CONN", hide_env = true)]
    pub only_conn: Option<ConnList>,

    /// Run this process's share of the connections: 0/4 to 3/4 for four processes [default: 0/1]
    #[arg(long, value_name = "I/N", env = "ECHO_TESTER_SHARD", hide_env = true)]
    pub shard: Option<Shard>,

    /// Wait until this time, so that several processes begin together: 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_START_AT", hide_env = true)]
    pub start_at: Option<Instant>,

    /// Findings to keep in full; all are counted [default: 20]
    #[arg(long, value_name = "N", env = "ECHO_TESTER_FINDINGS", hide_env = true)]
    pub findings: Option<Count>,

    /// How long the loads may take; what is not done then has failed [default: no limit; of a case 10m]
    ///
    /// A case that needs --long has 2h. What its loads take by their duration and their time-outs comes on top of it.
    #[arg(long, alias = "case-timeout", value_name = "TIME", env = "ECHO_TESTER_TIMEOUT", hide_env = true)]
    pub timeout: Option<Time>,
}

/// A run, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What all randomness follows from.
    pub seed: u64,
    /// Threads, at least 1.
    pub workers: usize,
    /// Addresses to connect from; none: the system's choice.
    pub sources: Sources,
    /// The only connections to run; none: all of them.
    pub only_conns: Vec<ConnId>,
    /// This process's share.
    pub shard: Shard,
    /// When to begin; none: now.
    pub start_at: Option<SystemTime>,
    /// Findings to keep in full.
    pub findings: usize,
    /// How long its loads may take; none: no limit, or for a case one that follows from its loads.
    pub timeout: Option<Duration>,
}

impl RunArgs {
    /// What was typed, with defaults. `random` gives the seed if none was typed (cut to 48 bits: a seed is retyped by
    /// people), `cores` the number of workers.
    pub fn resolve(&self, random: u64, cores: usize) -> Result<Run, ConfigError> {
        let workers = match self.workers {
            None => cores.max(1),
            Some(Count(0)) => {
                return Err(ConfigError::new("workers", 0, "without a thread nothing runs", "the least is 1"));
            }
            Some(Count(workers)) if workers <= 1024 => workers as usize,
            Some(workers) => {
                return Err(ConfigError::new("workers", workers, "more threads than help", "the most is 1024"));
            }
        };
        if let (Some(only), Some(shard)) = (&self.only_conn, self.shard) {
            return Err(ConfigError::new(
                "only_conn",
                only,
                format!("shard = {shard} already chooses connections"),
                "leave one of them out",
            ));
        }
        if let (Some(shard), None) = (self.shard.filter(|shard| shard.count() > 1), self.seed) {
            return Err(ConfigError::new(
                "shard",
                shard,
                "each process would draw a seed of its own, and they would not be one run",
                "give all of them the same --seed",
            ));
        }
        if let Some(Time(Duration::ZERO)) = self.timeout {
            return Err(ConfigError::new("timeout", 0, "in no time nothing is done", "write a time such as 10m"));
        }
        Ok(Run {
            seed: self.seed.map_or(random & ((1 << 48) - 1), |Seed(seed)| seed),
            workers,
            sources: self.source.clone().unwrap_or_default(),
            only_conns: self.only_conn.clone().map_or_else(Vec::new, |ConnList(conns)| conns),
            shard: self.shard.unwrap_or(Shard::WHOLE),
            start_at: self.start_at.map(|Instant(time)| time),
            findings: usize::try_from(self.findings.map_or(defaults::FINDINGS, |Count(n)| n)).unwrap_or(usize::MAX),
            timeout: self.timeout.map(|Time(time)| time),
        })
    }

    /// The flags that say the same, for a command line that runs it again.
    pub fn to_flags(&self) -> Vec<String> {
        flags(self, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(toml: &str) -> Result<Run, ConfigError> {
        let args: RunArgs = toml::from_str(toml).unwrap_or_else(|error| panic!("{error}"));
        args.resolve(u64::MAX, 2)
    }

    #[test]
    fn a_drawn_seed_is_short_enough_to_retype_and_a_typed_one_is_kept() {
        assert_eq!(run("").expect("valid").seed, 0xffff_ffff_ffff);
        assert_eq!(run("seed = '0xffffffffffffffff'").expect("valid").seed, u64::MAX);
    }

    #[test]
    fn what_is_absent_takes_its_default() {
        let Run { workers, sources, only_conns, shard, start_at, findings, .. } = run("").expect("valid");
        assert_eq!((workers, findings, shard), (2, 20, Shard::WHOLE));
        assert!(sources.is_empty() && only_conns.is_empty() && start_at.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_remedy() {
        let refusal = |toml| run(toml).expect_err(toml).to_string();
        assert_eq!(refusal("workers = 0"), "workers = 0: without a thread nothing runs: the least is 1");
        assert_eq!(refusal("workers = '2k'"), "workers = 2000: more threads than help: the most is 1024");
        assert_eq!(
            refusal("only_conn = 5\nshard = '0/4'"),
            "only_conn = 5: shard = 0/4 already chooses connections: leave one of them out"
        );
        assert_eq!(
            refusal("shard = '0/4'"),
            "shard = 0/4: each process would draw a seed of its own, and they would not be one run: give all of them the \
             same --seed"
        );
        assert_eq!(refusal("timeout = 0"), "timeout = 0: in no time nothing is done: write a time such as 10m");
        assert!(run("shard = '0/1'").is_ok() && run("shard = '0/4'\nseed = 1").is_ok());
    }
}
