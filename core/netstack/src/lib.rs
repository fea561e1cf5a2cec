//! User-space TCP and UDP for the core's own flows inside the tunnel, sans-IO.
