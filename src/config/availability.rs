//! Options of a load that not every system has.

use super::error::ConfigError;
use crate::plan::Profile;
use crate::sys;

/// The first option of the load that this system does not have.
pub fn unavailable(profile: &Profile) -> Option<ConfigError> {
    let remedy = "leave it out here";
    if let Some(mss) = profile.mss.filter(|_| !sys::HAS_MSS) {
        return Some(ConfigError::new("mss", mss, "this system does not let programs set TCP_MAXSEG").remedy(remedy));
    }
    (profile.fast_open && !sys::HAS_FAST_OPEN).then(|| {
        ConfigError::new("fast_open", true, "only Linux sends data with a SYN for connect (TCP_FASTOPEN_CONNECT)")
            .remedy(remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadArgs;

    #[test]
    fn what_a_system_does_not_have_is_refused_there_alone() {
        let refused = |toml: &str| {
            let args: LoadArgs = toml::from_str(toml).expect("the load of a test is well-formed");
            unavailable(&args.resolve("load").expect("the load of a test is valid")).map(|error| error.key)
        };
        assert_eq!(refused("mss = 536"), cfg!(windows).then_some("mss"));
        assert_eq!(refused("fast_open = true"), (!cfg!(target_os = "linux")).then_some("fast_open"));
        assert_eq!(refused("keepalive = '1s'\nsource_port = '20000..20100'"), None);
    }
}
