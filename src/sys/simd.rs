//! Chooses vector instructions at run time. A loop is compiled once for each level, and a [`Level`] is the proof that
//! this processor has the instructions. So the build needs no target-cpu flag, and one binary runs on any x86-64.
//!
//! The loops are plain `#[inline(always)]` Rust ([`Kernel::run`]) and live with their owners. LLVM vectorizes a loop
//! for a level because it is inlined into a `#[target_feature]` function. This file must not know what the loops do.
//!
//! Source: the Rust reference, 'Codegen attributes: target_feature' (safe target_feature functions, Rust 1.86).
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calling a target_feature function from code compiled without that feature")
)]

/// A level of vector instructions that this processor has. [`Level::PORTABLE`] is always safe, and only
/// [`Level::available`] and [`Level::best`] make the others. So a `Level` proves that its instructions can be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Isa);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The instructions that every processor of this architecture has.
    pub const PORTABLE: Level = Level(Isa::Portable);

    /// Every level that this processor has, slowest first.
    pub fn available() -> Vec<Level> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "only x86-64 has more levels so far"))]
        let mut levels = vec![Level::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                levels.push(Level(Isa::Avx2));
            }
            // The 64-bit multiplication, vpmullq, makes this level worthwhile. It came with DQ.
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                levels.push(Level(Isa::Avx512));
            }
        }
        levels
    }

    /// The fastest level that this processor has.
    pub fn best() -> Level {
        Self::available().last().copied().unwrap_or(Level::PORTABLE)
    }

    /// `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
        }
    }

    /// Runs the version of the kernel that was compiled for this level.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Isa::Portable => kernel.run::<1>(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` makes an Avx2 level only after it has found AVX2 on this processor.
            Isa::Avx2 => unsafe { avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `available` makes an Avx512 level only after it has found AVX-512 F, DQ and VL on this processor.
            Isa::Avx512 => unsafe { avx512(kernel) },
        }
    }
}

/// A loop that gains from being compiled once for each level.
pub trait Kernel {
    /// The result of the loop.
    type Output;

    /// The loop. Mark it `#[inline(always)]`.
    ///
    /// With one lane, write the simplest loop: one word a step, with running values and sums. LLVM then chooses the
    /// width and the unrolling; blocks written by hand only get in its way. With more lanes, process that many words as
    /// one vector, and call [`end_vector`] after each.
    fn run<const LANES: usize>(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<1>()
}

/// Uses the instructions of AVX-512 (64-bit multiplication, three-way or) on vectors of 256 bits. Some processors lower
/// their frequency while they execute 512-bit vectors, which slows everything else on the core. On a Granite Rapids
/// this cost 6 to 10 %, more than the width gains with messages of 1 KiB.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<4>()
}

/// Keeps the compiler from merging the code before and after it into a wider vector. It emits no instruction.
#[inline(always)]
pub fn end_vector() {
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_its_own_name_and_the_best_one_is_last() {
        let levels = Level::available();
        assert_eq!(levels[0], Level::PORTABLE);
        assert_eq!(levels.last(), Some(&Level::best()));
        let mut names: Vec<_> = levels.iter().map(|level| level.name()).collect();
        names.dedup();
        assert_eq!(names.len(), levels.len());
    }
}
