//! The table of cases.

/// A claim, and the threads that try to break it.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

pub(crate) fn all() -> Vec<Case> {
    [crate::server::cases::CASES, crate::client::cases::CASES].concat()
}
