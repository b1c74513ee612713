//! Whether the system will let a run happen, asked before the first connection: each limit with its name and its fix.

use std::fmt;

use super::Plan;
use crate::plan::Reconnect;
use crate::sys::{self, DescriptorLimit};

/// Descriptors that the program needs beside its connections: standard streams, runtimes, timers, files.
const OWN_DESCRIPTORS: u64 = 64;

/// A limit that the run would hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What is too much, and the limit.
    pub what: String,
    /// What to do about it.
    pub fix: String,
    /// Whether the run can't do what was asked; otherwise it is only likely to be slower or to fail in part.
    pub fatal: bool,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.fix)
    }
}

/// What the system allows, as far as it tells.
#[derive(Clone, Debug)]
pub struct System {
    /// Descriptors, after the soft limit was raised.
    pub descriptors: DescriptorLimit,
    /// Connections for which the sources have ports, for one target.
    pub ports: Option<u128>,
}

impl System {
    /// Asks. Raises the soft limit of descriptors to the hard one.
    pub fn ask(plan: &Plan) -> System {
        System { descriptors: sys::raise_descriptor_limit(), ports: plan.sources.capacity() }
    }
}

/// The limits that this plan would hit, the fatal ones first.
pub fn check(plan: &Plan, system: &System) -> Vec<Obstacle> {
    let at_once =
        if plan.only.is_empty() { plan.slots.of_shard(plan.shard).count() as u64 } else { plan.only.len() as u64 };
    let mut obstacles = Vec::new();
    if let Some(usable) = system.descriptors.usable
        && at_once + OWN_DESCRIPTORS > usable
    {
        let most = usable.saturating_sub(OWN_DESCRIPTORS);
        let raise = match system.descriptors.hard {
            Some(hard) if hard <= usable => {
                "raise the hard limit ('ulimit -Hn', /etc/security/limits.conf, LimitNOFILE=)"
            }
            _ => "raise the limit ('ulimit -n')",
        };
        obstacles.push(Obstacle {
            what: format!("{at_once} connections need more descriptors than the {usable} that this process may open"),
            fix: format!("--conns {most} at most, or {raise}, or share the run among processes (--shard)"),
            fatal: true,
        });
    }
    if let Some(ports) = system.ports {
        let targets = plan.targets.len().max(1) as u128;
        if u128::from(at_once) > ports * targets {
            obstacles.push(Obstacle {
                what: format!(
                    "{at_once} connections need more local ports than the {ports} that the source addresses have"
                ),
                fix: "add source addresses (--source), or widen net.ipv4.ip_local_port_range".to_owned(),
                fatal: true,
            });
        } else if u128::from(at_once) * 2 > ports * targets && reconnects(plan) {
            obstacles.push(Obstacle {
                what: format!("closed connections keep their ports for a minute, and the sources have {ports}"),
                fix: "if connects fail, add source addresses (--source) or slow down (--reconnect-delay)".to_owned(),
                fatal: false,
            });
        }
    }
    obstacles
}

fn reconnects(plan: &Plan) -> bool {
    plan.groups.iter().any(|group| group.reconnect != Reconnect::Off)
}
