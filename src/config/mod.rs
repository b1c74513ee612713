//! What was typed, and what it means: one struct for flag and TOML key.
