//! A scenario, resolved: one case, against one server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::conformance;
use super::error::Location;
use super::need::Need;
use super::variables::Environment;
use crate::config::{
    ListenAddress, Outage, PairingToken, ProcessSpec, RunArgs, ServerConditions, ServerSpec, ServerVariant,
};
use crate::judge::assumption::Assumption;
use crate::judge::expectation::{Expectations, ExpectedLoad};
use crate::plan::{Close, Profile};

/// A case: a scenario, resolved, against one server.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it comes from: a path, or the name of an embedded file.
    pub path: String,
    /// A stable address; may be empty.
    pub id: String,
    /// Its name; with the model, if the file has several.
    pub name: String,
    /// Its purpose, and where to look when it fails; may be empty.
    pub about: String,
    /// It is run only when asked for.
    pub long: bool,
    /// What it can't be judged without.
    pub needs: Vec<Need>,
    /// Why it is skipped under Wine.
    pub skip_under_wine: Option<String>,
    /// The server; `None`: the user's own.
    pub server: Option<ServerSpec>,
    /// The processes that start before the server, in this order.
    pub processes: Vec<ProcessSpec>,
    /// The programs that it starts, each with how to install it.
    pub programs: BTreeMap<String, String>,
    /// The conditions under which it runs, whichever server that is.
    pub conditions: ServerConditions,
    /// Where to listen as the backend of the proxy, if the file says so.
    pub backend: Option<ListenAddress>,
    /// What `echo-tester backend` on another machine shows, if the file says so.
    pub backend_token: Option<PairingToken>,
    /// When this program is down as the backend.
    pub outage: Option<Outage>,
    /// The seed, the workers …
    pub run: RunArgs,
    /// The load groups.
    pub loads: Vec<Profile>,
    /// The expectations, and the grade.
    pub expect: Expectations,
    /// The environment variables that were filled in, which another run needs too.
    pub environment: Environment,
    /// The text of the file that the loads stand in; for a case of a suite, the file of the suite.
    pub(super) source: Arc<str>,
    /// Where its name comes from.
    pub(super) name_location: Location,
}

impl Scenario {
    /// The same case against this server, which its name mentions if there is a label.
    pub(super) fn against(mut self, variant: &ServerVariant, label: Option<&str>) -> Scenario {
        self.server = Some(variant.server.clone());
        if let Some(label) = label {
            self.name = format!("{} [{label}]", self.name);
        }
        self
    }

    /// The same case with the grade that counts: with `strict`, a *should* is a *must*.
    pub fn in_force(&self, strict: bool) -> Scenario {
        let mut case = self.clone();
        case.expect.grade = case.expect.grade.in_force(strict);
        case
    }

    /// The same case against a target of which this is known: if it cannot pass there, its failure is expected.
    pub fn assuming(mut self, assumed: Option<Assumption>) -> Scenario {
        self.expect.assumed = assumed.filter(|assumed| match assumed {
            Assumption::NoHalfClose => self.is_about_half_close(),
        });
        self
    }

    /// Whether the case looks at what follows a half-close. In the suite, the loads of every other case end by another
    /// way, so that one defect does not fail them all.
    pub fn is_about_half_close(&self) -> bool {
        self.loads.iter().any(|load| load.close == Close::HalfClose)
    }

    /// Whether both ends of its connections are ours.
    pub fn has_two_sides(&self) -> bool {
        self.loads.iter().any(|load| load.flow.has_two_sides())
    }

    /// Whether running both would run the same thing twice, provided that their variables have the same values.
    pub fn is_same_as(&self, other: &Scenario) -> bool {
        let same_loads = self.is_written_as(other) && self.long == other.long;
        let same_servers = self.server == other.server && self.processes == other.processes;
        same_loads && same_servers && self.conditions == other.conditions && self.run == other.run
    }

    /// Whether both are the same case, perhaps against different servers.
    pub(super) fn is_written_as(&self, other: &Scenario) -> bool {
        self.source == other.source
    }

    /// What tells it from other cases, whatever server it is run against: its id, or else its name.
    pub fn address(&self) -> &str {
        if self.id.is_empty() { &self.name } else { &self.id }
    }

    /// Its id and its name.
    pub fn title(&self) -> String {
        format!("{} {}", self.id, self.name).trim().to_owned()
    }

    /// How long it usually takes, if that is known: a case of the suite by experience, another by its durations.
    pub fn usual_time(&self) -> Option<Duration> {
        let durations = || self.loads.iter().map(|load| load.duration).collect::<Option<Vec<_>>>();
        conformance::usual_time(&self.path).or_else(|| durations()?.into_iter().max())
    }

    /// The load groups, as far as expectations depend on them.
    pub fn expected_loads(&self) -> impl Iterator<Item = ExpectedLoad<'_>> {
        self.loads.iter().map(|load| ExpectedLoad { name: &load.name, verify: load.verify })
    }
}
