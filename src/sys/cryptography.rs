//! Whether the processor has the instructions that the cryptography of TLS is written in. Graviola has no code for
//! other processors: it would end the program.

/// Whether it has them.
#[cfg(target_arch = "x86_64")]
pub fn can_encrypt() -> bool {
    use std::arch::is_x86_feature_detected as has;
    let for_ciphers = has!("aes") && has!("pclmulqdq") && has!("ssse3");
    for_ciphers && has!("avx") && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("adx")
}

/// Whether it has them.
#[cfg(target_arch = "aarch64")]
pub fn can_encrypt() -> bool {
    use std::arch::is_aarch64_feature_detected as has;
    has!("neon") && has!("aes") && has!("pmull") && has!("sha2")
}

/// Whether it has them.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn can_encrypt() -> bool {
    false
}
