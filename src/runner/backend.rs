//! The backend of a proxy: opened before anything connects, so that the proxy finds it there.

use std::io;

use crate::client::RunPlan;
use crate::config::{BackendArgs, ListenAddress};
use crate::failure::Failure;
use crate::peer::Backend;
use crate::plan::{Flow, Profile};
use crate::sys::advice;

/// Listens where `--backend` says, if it does.
///
/// # Errors
/// The address can't be listened on (exit code 2: another one is needed).
pub fn open(args: BackendArgs) -> anyhow::Result<Option<Backend>> {
    args.backend.map(listen).transpose()
}

/// Listens on this address as the backend of a proxy.
///
/// # Errors
/// As [`open`].
pub fn listen(address: ListenAddress) -> anyhow::Result<Backend> {
    Backend::listen(address.0).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there: stop it, or give another port here and in the proxy's configuration"
            }
            io::ErrorKind::AddrNotAvailable => "give an address of this machine, such as 127.0.0.1 or 0.0.0.0",
            io::ErrorKind::PermissionDenied => {
                return Failure::usage(format!(
                    "--backend {address}: can't listen there ({error}; {}): give another port",
                    advice::HERE.bind_denied
                ));
            }
            _ => "give another address",
        };
        Failure::usage(format!("--backend {address}: can't listen there ({error}): {remedy}"))
    })
}

/// Lets the server's halves of a plan come in at this backend.
pub fn attach(plan: &mut RunPlan, backend: Option<&Backend>) {
    plan.backend = backend.map(Backend::intake);
}

/// Refuses loads that do not go with the ends that are ours.
///
/// # Errors
/// A load of two sides without a backend, or an echo with one.
pub fn check(profiles: &[Profile], has_backend: bool) -> anyhow::Result<()> {
    for profile in profiles {
        match (profile.flow, has_backend) {
            (Flow::Echo, true) => {
                return Err(Failure::usage(
                    "--flow echo: with --backend this program is the server, and does not echo: leave it out, or choose \
                     both, upload, download or request",
                ));
            }
            (flow, false) if flow.has_two_sides() => {
                return Err(Failure::usage(format!(
                    "--flow {flow}: both ends must be ours: add --backend LISTEN, the address that the proxy forwards to"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_taken_is_refused_with_what_to_do() {
        let first = listen("127.0.0.1:0".parse().expect("it is an address")).expect("a port is free");
        let error = listen(ListenAddress(first.address())).expect_err("it is taken").to_string();
        assert!(
            error.contains(&first.address().to_string()) && error.contains("stop it, or give another port"),
            "{error}"
        );
    }
}
