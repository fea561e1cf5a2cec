//! The device's state machine: lifecycle, transport choice, plans, checks, timers. Sans-IO.
