//! Weft end to end in the netlab, and the demo.
