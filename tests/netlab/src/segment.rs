//! Which interfaces hear each other: what a capture has to know to be sure that it has seen everything.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::host::{Host, HostInner};

/// An interface of a host, which does not keep the host alive.
type Attached = (Weak<HostInner>, String);

/// The interfaces at the ends of one wire, or on one switch.
#[derive(Clone, Default)]
pub(crate) struct Segment {
    ends: Arc<Mutex<Vec<Attached>>>,
}

impl Segment {
    /// Notes that `interface` of `host` is on this segment.
    pub(crate) fn attach(&self, host: &Host, interface: &str) {
        let end = (Arc::downgrade(&host.inner), interface.to_owned());
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).push(end);
        let mut segments = host.inner.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.insert(interface.to_owned(), self.clone());
    }

    /// The segment of an interface, where the lab has made the interface.
    pub(crate) fn of(host: &Host, interface: &str) -> Option<Self> {
        host.inner.segments.lock().unwrap_or_else(PoisonError::into_inner).get(interface).cloned()
    }

    /// The interfaces on it whose hosts still exist.
    pub(crate) fn ends(&self) -> Vec<(Host, String)> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = |(host, interface): &Attached| Some((Host { inner: host.upgrade()? }, interface.clone()));
        ends.iter().filter_map(alive).collect()
    }
}
