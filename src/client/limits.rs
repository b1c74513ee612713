//! The limits of the system that a run would hit, checked before the first connection. Each has a name and a remedy.

use std::fmt;

use super::run_plan::RunPlan;
use crate::plan::{Lifetime, Profile, Reconnect};
use crate::sys::{self, DescriptorLimit, advice};
use crate::units::{Time, grouped};

/// Descriptors that the program needs besides its connections: standard streams, runtimes, timers, files.
const OWN_DESCRIPTORS: u64 = 64;

/// A limit that the run would hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What is too much, and the limit.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// What flags of the load can do about it. The loads of a case have none.
    pub flags: Option<String>,
    /// Whether the run can't do what was asked. If not, it may only be slower or fail in part.
    pub fatal: bool,
}

impl Obstacle {
    /// The obstacle as an error, without what flags could do.
    pub fn without_flags(self) -> Obstacle {
        Obstacle { flags: None, ..self }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)?;
        self.flags.iter().try_for_each(|flags| write!(f, ", or {flags}"))
    }
}

/// What the system allows, as far as it says.
#[derive(Clone, Debug)]
pub struct SystemLimits {
    /// How many descriptors this process may open, after the soft limit was raised.
    pub descriptors: DescriptorLimit,
    /// For how many connections to one target the sources have ports.
    pub ports: Option<u128>,
    /// There are several sources, and whether each adds ports is not known.
    pub ports_may_be_shared: bool,
}

impl SystemLimits {
    /// Asks the system. Raises the soft limit of descriptors to the hard one.
    pub fn ask(plan: &RunPlan) -> SystemLimits {
        SystemLimits {
            descriptors: sys::raise_descriptor_limit(),
            ports: plan.sources.capacity(),
            ports_may_be_shared: plan.sources.may_share_ports(),
        }
    }
}

/// The limits that this plan would hit, the fatal ones first.
pub fn check(plan: &RunPlan, system: &SystemLimits) -> Vec<Obstacle> {
    let at_once =
        if plan.only.is_empty() { plan.slots.of_shard(plan.shard).count() as u64 } else { plan.only.len() as u64 };
    let mut obstacles = Vec::new();
    // Where both ends are ours, a connection has two sockets here.
    let sockets = if plan.backend.is_some() { 2 } else { 1 };
    if let Some(usable) = system.descriptors.usable
        && at_once * sockets + OWN_DESCRIPTORS > usable
    {
        let most = usable.saturating_sub(OWN_DESCRIPTORS) / sockets;
        let raise = match system.descriptors.hard {
            Some(hard) if hard <= usable => {
                "raise the hard limit ('ulimit -Hn', /etc/security/limits.conf, LimitNOFILE=)"
            }
            _ => "raise the limit ('ulimit -n')",
        };
        obstacles.push(Obstacle {
            what: format!(
                "{} connections need more descriptors than the {} that this process may open",
                grouped(at_once),
                grouped(usable)
            ),
            remedy: raise.to_owned(),
            // With no descriptor to spare, no part of the run could have a connection either.
            flags: (most > 0)
                .then(|| format!("use at most --conns {most}, or split the run among processes (--shard)")),
            fatal: true,
        });
    }
    let targets = plan.targets.len().max(1) as u128;
    let ports = system.ports.map(|ports| ports * targets);
    obstacles.extend(ports.and_then(|ports| {
        let is_sure = !system.ports_may_be_shared;
        out_of_ports(u128::from(at_once), (ports, is_sure), reconnects(plan))
    }));
    let reconnects = plan.slots.reconnects();
    obstacles.extend(plan.groups.iter().filter_map(|group| out_of_ids(group, reconnects)));
    obstacles
}

/// More connections at once than there are local ports, or enough for reconnects to run out of them. `is_sure` says
/// that there are no more of them.
fn out_of_ports(at_once: u128, (ports, is_sure): (u128, bool), reconnects: bool) -> Option<Obstacle> {
    let shown = |count: u128| grouped(u64::try_from(count).unwrap_or(u64::MAX));
    let (connections, all_ports) = (shown(at_once), shown(ports));
    if at_once > ports && is_sure {
        return Some(Obstacle {
            what: format!(
                "{connections} connections need more local ports than the {all_ports} that the source addresses have"
            ),
            remedy: widen_ports(),
            flags: more_sources(),
            fatal: true,
        });
    }
    if at_once > ports {
        return Some(Obstacle {
            what: format!(
                "{connections} connections need more local ports than the {all_ports} of this system, unless it gives each \
                 source address its own (SO_REUSE_UNICASTPORT)"
            ),
            remedy: format!("if connects fail, {}", widen_ports()),
            flags: more_sources(),
            fatal: false,
        });
    }
    let slower = Some("slow down (--reconnect-delay)".to_owned());
    (at_once * 2 > ports && reconnects).then(|| Obstacle {
        what: format!(
            "closed connections keep their ports for a minute, and the source addresses have {all_ports} ports"
        ),
        remedy: format!("if connects fail, {}", widen_ports()),
        flags: Some([more_sources(), slower].into_iter().flatten().collect::<Vec<_>>().join(", or ")),
        fatal: false,
    })
}

/// How the system gets more local ports.
fn widen_ports() -> String {
    format!("widen the range of ports ({})", advice::HERE.port_range)
}

/// How a run gets more local ports, where each source address has its own.
fn more_sources() -> Option<String> {
    advice::HERE.has_ports_per_address.then(|| "add source addresses (--source)".to_owned())
}

/// Churn by age that will reconnect more often than there are ids. For churn by messages, only the run shows how often
/// it reconnects.
fn out_of_ids(group: &Profile, reconnects: u32) -> Option<Obstacle> {
    let (Reconnect::Forever, Some(Lifetime::Age(age)), Some(duration)) =
        (group.reconnect, group.lifetime, group.duration)
    else {
        return None;
    };
    let longest = age.max().saturating_add(group.reconnect_delay);
    (duration > longest.saturating_mul(reconnects)).then(|| Obstacle {
        what: format!(
            "in {}, connections that live for at most {} reconnect more often than the {reconnects} times for which \
             there are ids",
            Time(duration),
            Time(age.max())
        ),
        remedy: "make several shorter runs".to_owned(),
        flags: Some("use fewer connections (--conns), a longer --lifetime, or a --reconnect-delay".to_owned()),
        fatal: false,
    })
}

fn reconnects(plan: &RunPlan) -> bool {
    plan.groups.iter().any(|group| group.reconnect != Reconnect::Off)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadArgs;

    fn group(toml: &str) -> Profile {
        let args: LoadArgs = toml::from_str(toml).expect("the load of a test is well-formed");
        args.resolve("load").expect("the load of a test is valid")
    }

    #[test]
    fn a_lack_of_ports_ends_the_run_only_where_it_is_sure() {
        let of = |at_once, is_sure, reconnects| {
            out_of_ports(at_once, (16_384, is_sure), reconnects).map(|obstacle| (obstacle.fatal, obstacle.to_string()))
        };
        let (is_fatal, said) = of(16_385, true, false).expect("there are too few");
        assert!(
            is_fatal && said.starts_with("16,385 connections need more local ports than the 16,384 that"),
            "{said}"
        );
        assert!(said.contains(advice::HERE.port_range), "{said}");
        let (is_fatal, said) = of(16_385, false, false).expect("there may be too few");
        assert!(!is_fatal && said.contains("unless it gives each source address its own"), "{said}");
        assert_eq!(of(16_384, true, false), None);
        assert!(of(8_193, true, true).is_some_and(|(is_fatal, said)| !is_fatal && said.contains("--reconnect-delay")));
        assert_eq!(of(8_192, true, true), None);
    }

    #[test]
    fn churn_that_will_use_up_the_ids_is_reported_before_the_run() {
        let seen = |toml: &str| out_of_ids(&group(toml), 1000).map(|obstacle| (obstacle.fatal, obstacle.what));
        let what = "in 1m, connections that live for at most 50ms reconnect more often than the 1000 times for which \
                    there are ids";
        assert_eq!(seen("lifetime = '10ms..50ms'\nduration = '1m'"), Some((false, what.to_owned())));
        assert_eq!(seen("lifetime = '10ms..50ms'\nduration = '1m'\nreconnect_delay = '20ms'"), None);
        assert_eq!(seen("lifetime = 1\nduration = '1h'"), None);
    }
}
