//! Split-tunnel set algebra, profile to plan, and the packet-verdict snapshot.
