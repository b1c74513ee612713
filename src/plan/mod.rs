//! What one connection does: a pure, seeded iterator of steps.
