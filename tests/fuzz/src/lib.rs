//! Every parser of outside bytes as a fuzz target; the corpora are replayed by cargo test.
