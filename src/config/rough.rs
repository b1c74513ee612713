//! The default load of `blast`: a tenth of its connections are rough.
//!
//! Small messages, one at a time, never fill a buffer, so a server that loses bytes under back-pressure passes them.
//! The rough connections read slowly or late, cut their writes into single bytes, or reset. They are loads of their
//! own, so that the figures of the other connections stay comparable.

use super::defaults;
use super::load::LoadArgs;
use crate::transport::SocketKind;
use crate::units::Count;

/// One connection in ten is rough.
const ONE_IN: u64 = 10;
/// More rough connections would show nothing new, and make a large run long: they move megabytes.
const MAX_ROUGH: u64 = 100;

/// A rough load.
struct Rough {
    /// Its name in reports.
    name: &'static str,
    /// Its keys, as in a scenario.
    keys: &'static str,
    /// Only TCP can do it.
    needs_tcp: bool,
}

/// The rough loads. The first has a connection before the second has one, and so on.
const ROUGH: &[Rough] = &[
    // More than the socket buffers hold, which is some 4 MB: the server itself must wait, and be woken.
    Rough {
        name: "rough-slow",
        keys: "bytes = '8MiB'\nsize = '1MiB..8MiB'\nfragment = 'off'\nread = 'slow:16MiB/s'\nrcvbuf = '64KiB'",
        needs_tcp: false,
    },
    Rough {
        name: "rough-late",
        keys: "bytes = '8MiB'\nsize = '1..1MiB'\nfragment = 'log:1..64KiB'\nread = 'pause:500ms'",
        needs_tcp: false,
    },
    Rough { name: "rough-bytes", keys: "messages = 20\nsize = '1..200'\nfragment = '1'", needs_tcp: false },
    Rough { name: "rough-reset", keys: "messages = 20\npipeline = 8\nclose = 'reset'", needs_tcp: true },
];

impl LoadArgs {
    /// Whether nothing was typed that shapes the load: only the number of connections, time-outs and what ends the run.
    pub fn is_default_shape(&self) -> bool {
        let shape = LoadArgs {
            name: None,
            conns: None,
            connect_timeout: None,
            stall_timeout: None,
            grace: None,
            fail_fast: None,
            ..self.clone()
        };
        shape == LoadArgs::default()
    }

    /// The loads that `blast` runs when nothing shapes them: this one, with fewer connections, and the rough ones.
    /// With fewer than ten connections none is rough. None asks for what a target of this kind can't do.
    pub fn with_rough(&self, target: SocketKind) -> Vec<LoadArgs> {
        let Count(conns) = self.conns.unwrap_or(Count(u64::from(defaults::CONNS)));
        let rough = (conns / ONE_IN).min(MAX_ROUGH);
        let possible: Vec<&Rough> = ROUGH.iter().filter(|row| !row.needs_tcp || target == SocketKind::Tcp).collect();
        let rows = possible.len() as u64;
        let mut loads = vec![LoadArgs { conns: Some(Count(conns - rough)), ..self.clone() }];
        for (row, at) in possible.into_iter().zip(0..) {
            let share = (rough + rows - 1 - at) / rows;
            if share > 0 {
                let shape: LoadArgs = toml::from_str(row.keys).expect("a test parses every row");
                let (name, conns) = (Some(row.name.to_owned()), Some(Count(share)));
                let LoadArgs { connect_timeout, stall_timeout, grace, fail_fast, .. } = *self;
                let load = LoadArgs { name, conns, connect_timeout, stall_timeout, grace, fail_fast, ..shape };
                loads.push(load);
            }
        }
        loads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TransportSettings;

    fn of(conns: Option<u64>) -> Vec<(String, u64)> {
        let load = LoadArgs { conns: conns.map(Count), ..LoadArgs::default() };
        let named = |load: LoadArgs| (load.name.unwrap_or_default(), load.conns.map_or(0, |Count(n)| n));
        load.with_rough(SocketKind::Tcp).into_iter().map(named).collect()
    }

    #[test]
    fn a_tenth_is_rough_and_no_more_than_a_hundred() {
        assert_eq!(of(Some(9)), [(String::new(), 9)]);
        assert_eq!(of(Some(19)), [(String::new(), 18), ("rough-slow".to_owned(), 1)]);
        let shares = |loads: Vec<(String, u64)>| loads.into_iter().map(|(_, n)| n).collect::<Vec<_>>();
        assert_eq!(shares(of(None)), [90, 3, 3, 2, 2]);
        assert_eq!(shares(of(Some(500))), [450, 13, 13, 12, 12]);
        assert_eq!(shares(of(Some(20_000))), [19_900, 25, 25, 25, 25]);
    }

    #[test]
    fn what_is_not_tcp_has_only_loads_that_it_can_carry() {
        for kind in [SocketKind::Unix, SocketKind::Vsock] {
            let loads = LoadArgs::default().with_rough(kind);
            assert_eq!(loads.iter().filter_map(|load| load.conns).map(|Count(n)| n).collect::<Vec<_>>(), [90, 4, 3, 3]);
            for load in loads {
                let profile = load.resolve("load").unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(TransportSettings::default().unsuitable(&profile, kind), None, "{}", profile.name);
            }
        }
    }

    #[test]
    fn every_rough_load_is_valid_and_keeps_the_time_outs() {
        let load = LoadArgs { stall_timeout: "3s".parse().ok(), ..LoadArgs::default() };
        assert!(load.is_default_shape());
        for rough in load.with_rough(SocketKind::Tcp) {
            let profile = rough.resolve("load").unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(profile.stall_timeout.as_secs(), 3, "{}", profile.name);
        }
    }

    #[test]
    fn whatever_shapes_the_load_gives_a_uniform_run() {
        let shaped = LoadArgs { messages: Some(Count(5)), ..LoadArgs::default() };
        assert!(!shaped.is_default_shape());
        let paced = LoadArgs { connect_rate: "10/s".parse().ok(), ..LoadArgs::default() };
        assert!(!paced.is_default_shape());
    }
}
