//! The loss of an `echo-tester backend` on another machine.

use std::net::IpAddr;
use std::time::Duration;

/// The loss of an `echo-tester backend` on another machine during a run. What it carried ended with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendLoss {
    /// The address of its machine.
    pub address: IpAddr,
    /// When it was lost, from the begin of the run.
    pub after: Duration,
    /// It did not answer at the end of the run. Otherwise its control connection has ended.
    pub is_silent: bool,
}
