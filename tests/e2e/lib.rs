//! End-to-end tests: the harness.
