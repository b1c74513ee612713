//! Base-2 logarithm and power in fixed point (48 fraction bits), in integers alone. `ln` and `exp` differ between C
//! libraries in the last bits, and a plan that differs by one byte is another plan.
//!
//! The logarithm is computed bit by bit, by repeated squaring (Knuth, TAOCP 1.2.2, exercise 25 and its text). The power
//! is the product of the roots 2^(1/2), 2^(1/4), … that the fraction's bits select. A table takes six bits at a time,
//! so a draw costs eight multiplications. Bit by bit it took ten times as long as everything else in a step.

/// Fraction bits of a logarithm.
pub(super) const FRACTION_BITS: u32 = 48;

/// A mantissa of 1, in fixed point with 62 fraction bits.
const ONE: u64 = 1 << 62;

/// Bits of a fraction that one look-up takes.
const GROUP_BITS: usize = 6;

/// `POWERS[g][v]` is 2^(v / 64^(g+1)) with 62 fraction bits.
const POWERS: [[u64; 1 << GROUP_BITS]; FRACTION_BITS as usize / GROUP_BITS] = {
    let mut powers = [[ONE; 1 << GROUP_BITS]; FRACTION_BITS as usize / GROUP_BITS];
    // 2^(2^-i) for i = 1, 2, …: each the square root of the one before it.
    let mut root = 2 * ONE as u128;
    let mut bit = 0;
    while bit < FRACTION_BITS as usize {
        root = (root << 62).isqrt();
        let weight = 1 << (GROUP_BITS - 1 - bit % GROUP_BITS);
        let group = &mut powers[bit / GROUP_BITS];
        let mut value = 0;
        while value < group.len() {
            if value & weight != 0 {
                group[value] = times(group[value], root as u64);
            }
            value += 1;
        }
        bit += 1;
    }
    powers
};

/// The product of two mantissas, rounded down.
const fn times(a: u64, b: u64) -> u64 {
    ((a as u128 * b as u128) >> 62) as u64
}

/// log2 of `value`, rounded down. `value` must not be 0.
pub(super) fn log2(value: u64) -> u64 {
    let whole = value.ilog2();
    // In [1, 2).
    let mut mantissa = if whole <= 62 { value << (62 - whole) } else { value >> 1 };
    let mut result = u64::from(whole);
    for _ in 0..FRACTION_BITS {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 62;
        let bit = square >= 2 * u128::from(ONE);
        mantissa = (if bit { square >> 1 } else { square }) as u64;
        result = result << 1 | u64::from(bit);
    }
    result
}

/// 2 to the power of `exponent`, rounded down. The whole part of `exponent` must be below 62, so that the result fits.
pub(super) fn exp2(exponent: u64) -> u64 {
    let whole = (exponent >> FRACTION_BITS) as u32;
    let mut mantissa = ONE;
    for (g, powers) in POWERS.iter().enumerate() {
        let value = exponent >> (FRACTION_BITS as usize - (g + 1) * GROUP_BITS);
        mantissa = times(mantissa, powers[value as usize % powers.len()]);
    }
    mantissa >> (62 - whole.min(62))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SCALE: f64 = (1u64 << FRACTION_BITS) as f64;

    #[test]
    fn powers_of_two_are_exact_both_ways() {
        for power in 0..=61 {
            assert_eq!(log2(1 << power), power << FRACTION_BITS);
            assert_eq!(exp2(power << FRACTION_BITS), 1 << power);
        }
    }

    #[test]
    fn the_table_holds_powers_of_two() {
        for (g, powers) in POWERS.iter().enumerate() {
            for (v, power) in powers.iter().enumerate() {
                let expected = (v as f64 / 64f64.powi(g as i32 + 1)).exp2();
                assert!((*power as f64 / ONE as f64 - expected).abs() < 1e-15, "{v} in group {g}");
            }
        }
    }

    proptest! {
        #[test]
        fn logarithms_agree_with_floating_point(value in 1u64..1 << 62) {
            let expected = (value as f64).log2();
            prop_assert!((log2(value) as f64 / SCALE - expected).abs() < 8.0 / SCALE, "{}", value);
        }

        #[test]
        fn powers_agree_with_floating_point(exponent in 0u64..61 << FRACTION_BITS) {
            let expected = (exponent as f64 / SCALE).exp2();
            let power = exp2(exponent) as f64;
            prop_assert!(power <= expected * (1.0 + 1e-14) && power > expected * (1.0 - 1e-14) - 1.0, "{}", exponent);
        }

        #[test]
        fn powers_never_decrease(exponent in 0u64..(61 << FRACTION_BITS) - 1) {
            prop_assert!(exp2(exponent) <= exp2(exponent + 1));
        }
    }
}
