//! The daemon's protocol: frames, typed requests, peer identity.
