//! Figures beside the peers', as ratios.

fn main() {}
