//! Loads memory into the cache before it is needed.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "the intrinsic takes a raw pointer"))]

/// Bytes in a cache line.
#[cfg(target_arch = "x86_64")]
const CACHE_LINE_BYTES: usize = 64;

/// Requests every cache line of `value`, without waiting for them. Does nothing on processors for which stable Rust has
/// no such instruction.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        for at in (0..size_of::<T>()).step_by(CACHE_LINE_BYTES) {
            // SAFETY: `at` is less than the size of `value`, so the pointer stays inside it. The instruction has no
            // effect that a program could observe (Intel SDM, PREFETCHh: 'merely a hint').
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
