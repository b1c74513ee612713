//! Base-2 logarithm and power in fixed point (48 fraction bits), in integers only: `ln` and `exp` differ between C
//! libraries in the last bits, and a plan that differs by one byte is another plan.
//!
//! Both work bit by bit: the logarithm by repeated squaring (Knuth, TAOCP 1.2.2, exercise 25 and its text), the power by
//! multiplying the roots 2^(1/2), 2^(1/4), … that the fraction's bits select.

/// Fraction bits of a logarithm.
pub(super) const FRACTION: u32 = 48;

/// The one of the mantissas: fixed point with 62 fraction bits.
const ONE: u64 = 1 << 62;

/// `ROOTS[i]` is 2^(2^-(i+1)) with 62 fraction bits: each the square root of the one before it.
const ROOTS: [u64; FRACTION as usize] = {
    let mut roots = [0; FRACTION as usize];
    let mut power = 2 * (ONE as u128);
    let mut i = 0;
    while i < roots.len() {
        power = (power << 62).isqrt();
        roots[i] = power as u64;
        i += 1;
    }
    roots
};

/// log2 of `value`, rounded down. `value` must not be 0.
pub(super) fn log2(value: u64) -> u64 {
    let whole = value.ilog2();
    // The mantissa in [1, 2).
    let mut mantissa = if whole <= 62 { value << (62 - whole) } else { value >> 1 };
    let mut result = u64::from(whole);
    for _ in 0..FRACTION {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 62;
        let bit = square >= 2 * u128::from(ONE);
        mantissa = (if bit { square >> 1 } else { square }) as u64;
        result = result << 1 | u64::from(bit);
    }
    result
}

/// 2 to the power of `exponent`, rounded down. The result must fit: `exponent` below 62 in its whole part.
pub(super) fn exp2(exponent: u64) -> u64 {
    let whole = (exponent >> FRACTION) as u32;
    let mut mantissa = ONE;
    for (i, root) in ROOTS.iter().enumerate() {
        if exponent >> (FRACTION as usize - 1 - i) & 1 == 1 {
            mantissa = ((u128::from(mantissa) * u128::from(*root)) >> 62) as u64;
        }
    }
    mantissa >> (62 - whole.min(62))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SCALE: f64 = (1u64 << FRACTION) as f64;

    #[test]
    fn powers_of_two_are_exact_both_ways() {
        for power in 0..=61 {
            assert_eq!(log2(1 << power), power << FRACTION);
            assert_eq!(exp2(power << FRACTION), 1 << power);
        }
    }

    #[test]
    fn the_roots_are_those_of_two() {
        for (i, root) in ROOTS.iter().enumerate() {
            let expected = 2f64.powf(0.5f64.powi(i as i32 + 1));
            assert!((*root as f64 / ONE as f64 - expected).abs() < 1e-15, "root {i}");
        }
    }

    proptest! {
        #[test]
        fn a_logarithm_is_that_of_floating_point(value in 1u64..1 << 62) {
            let expected = (value as f64).log2();
            prop_assert!((log2(value) as f64 / SCALE - expected).abs() < 8.0 / SCALE, "{}", value);
        }

        #[test]
        fn a_power_is_that_of_floating_point(exponent in 0u64..61 << FRACTION) {
            let expected = (exponent as f64 / SCALE).exp2();
            let power = exp2(exponent) as f64;
            prop_assert!(power <= expected * (1.0 + 1e-14) && power > expected * (1.0 - 1e-14) - 1.0, "{}", exponent);
        }

        #[test]
        fn a_power_never_decreases(exponent in 0u64..(61 << FRACTION) - 1) {
            prop_assert!(exp2(exponent) <= exp2(exponent + 1));
        }
    }
}
