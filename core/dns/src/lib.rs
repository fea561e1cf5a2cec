//! The DNS engine: message codec, rules, what to ask whom. Sans-IO.
