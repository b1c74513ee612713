//! The engine: workers, connections, deadlines.
