//! weft: the command line.

fn main() {}
