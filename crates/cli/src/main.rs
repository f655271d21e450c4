//! vserver: one multi-call binary.

fn main() {}
