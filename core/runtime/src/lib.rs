//! Sockets, TUN input and output, DoH, orchestration and threads around the engine; Session for the shells.
