//! Histograms, counters, time line: pure and mergeable.
