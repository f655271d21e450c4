//! What developers and CI run: `cargo xtask TASK`.

fn main() {}
