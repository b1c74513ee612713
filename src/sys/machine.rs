//! What this machine is: the release of its kernel, and the model of its processor. Figures of time mean little
//! without them.

use std::sync::OnceLock;

/// The release of the kernel, as `uname -r` prints it. `None` if the system does not tell.
#[cfg(unix)]
pub fn kernel_release() -> Option<String> {
    told(rustix::system::uname().release().to_str().ok()?)
}

/// The release of the kernel: not asked for here.
#[cfg(not(unix))]
pub fn kernel_release() -> Option<String> {
    None
}

/// The model of the processor. `None` if the system does not tell: Linux does on x86, and Windows does.
pub fn processor() -> Option<String> {
    // A suite asks for each case, and the file has a page for each processor.
    static PROCESSOR: OnceLock<Option<String>> = OnceLock::new();
    let ask = || match cfg!(windows) {
        true => told(&std::env::var("PROCESSOR_IDENTIFIER").ok()?),
        false => model_name(&std::fs::read_to_string("/proc/cpuinfo").ok()?),
    };
    PROCESSOR.get_or_init(ask).clone()
}

/// The first model that `/proc/cpuinfo` names (proc_cpuinfo(5)).
fn model_name(cpuinfo: &str) -> Option<String> {
    let names = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    names.filter(|(key, _)| key.trim() == "model name").find_map(|(_, name)| told(name))
}

/// A text with one blank between its words, if there is any word.
fn told(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_named_model_counts() {
        let cpuinfo = "processor\t: 0\nmodel name\t: \nmodel name\t: Some(R)   CPU @ 2.10GHz\nmodel name\t: Other\n";
        assert_eq!(model_name(cpuinfo).as_deref(), Some("Some(R) CPU @ 2.10GHz"));
        assert_eq!(model_name("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
        assert_eq!(kernel_release().is_some(), cfg!(unix));
    }
}
