//! Run-time choice of the vector instructions: the same loop, compiled once for each level and called through a proof
//! that this processor has it. No target-cpu flag is needed, and a binary built here runs on any x86-64.
//!
//! The loops themselves live with their owner as plain `#[inline(always)]` Rust ([`Kernel::run`]); being inlined into a
//! `#[target_feature]` function is what makes LLVM vectorize them for that level. This file must not know what they do.
//!
//! Source: the Rust reference, "Codegen attributes: target_feature" (safe target_feature functions, Rust 1.86).
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calling a target_feature function from code compiled without that feature")
)]

/// A level of vector instructions that this processor has. Only [`Level::available`] and [`Level::best`] make one, so
/// that holding a `Level` is the proof that its instructions may be executed.
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
    /// What every processor of this architecture has.
    pub const PORTABLE: Level = Level(Isa::Portable);

    /// Every level of this processor, slowest first.
    pub fn available() -> Vec<Level> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "only x86-64 has more levels so far"))]
        let mut levels = vec![Level::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                levels.push(Level(Isa::Avx2));
            }
            // vpmullq, the 64-bit multiplication, is what makes this level worth having; it came with DQ.
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                levels.push(Level(Isa::Avx512));
            }
        }
        levels
    }

    /// The fastest level of this processor.
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

    /// Runs the kernel as compiled for this level.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Isa::Portable => kernel.run::<1>(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an Avx2 level exists only where the processor was found to have AVX2.
            Isa::Avx2 => unsafe { avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an Avx512 level exists only where the processor was found to have AVX-512 F, DQ and VL.
            Isa::Avx512 => unsafe { avx512(kernel) },
        }
    }
}

/// A loop that is worth compiling once for each level.
pub trait Kernel {
    /// What the loop returns.
    type Output;

    /// The loop, to be marked `#[inline(always)]`.
    ///
    /// With 1 lane it does best as the plainest one, a word a step with running values and sums: LLVM chooses width and
    /// unrolling, and blocks made by hand stand in its way. With more lanes that many words are a vector, and
    /// [`end_vector`] comes after each.
    fn run<const LANES: usize>(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<1>()
}

/// The instructions of AVX-512 (a 64-bit multiplication, an or of three) on vectors of 256 bits. With 512 bits some
/// processors lower the frequency for as long as such instructions come, and all else that the core does takes longer:
/// measured on a Granite Rapids, 6 to 10 %, which for messages of 1 KiB is more than the width gains.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<4>()
}

/// What stands before it is not merged with what stands after it into a wider vector. No instruction comes of it.
#[inline(always)]
pub fn end_vector() {
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_levels_have_names_of_their_own_and_the_best_is_the_last() {
        let levels = Level::available();
        assert_eq!(levels[0], Level::PORTABLE);
        assert_eq!(levels.last(), Some(&Level::best()));
        let mut names: Vec<_> = levels.iter().map(|level| level.name()).collect();
        names.dedup();
        assert_eq!(names.len(), levels.len());
    }
}
