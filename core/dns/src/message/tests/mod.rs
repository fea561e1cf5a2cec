//! The message helpers against hickory-proto.
