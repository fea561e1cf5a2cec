//! The packets of one call, as smoltcp wants to see them.

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::numbers::Numbers;

/// At most one packet to take in, and where made packets go. Lives as long as one call.
pub(crate) struct Port<'a> {
    incoming: Option<&'a [u8]>,
    mtu: usize,
    /// Room for the packet being made; kept for its memory.
    scratch: &'a mut Vec<u8>,
    numbers: &'a mut Numbers,
    outgoing: &'a mut dyn FnMut(&[u8]),
}

impl<'a> Port<'a> {
    pub(crate) fn new(
        incoming: Option<&'a [u8]>,
        mtu: usize,
        scratch: &'a mut Vec<u8>,
        numbers: &'a mut Numbers,
        outgoing: &'a mut dyn FnMut(&[u8]),
    ) -> Self {
        Self { incoming, mtu, scratch, numbers, outgoing }
    }

    fn outgoing(&mut self) -> Outgoing<'_> {
        Outgoing { scratch: self.scratch, numbers: self.numbers, sink: self.outgoing }
    }
}

pub(crate) struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

pub(crate) struct Outgoing<'a> {
    scratch: &'a mut Vec<u8>,
    numbers: &'a mut Numbers,
    sink: &'a mut dyn FnMut(&[u8]),
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, make: F) -> R {
        self.scratch.clear();
        self.scratch.resize(len, 0);
        let result = make(self.scratch);
        self.numbers.mend(self.scratch);
        (self.sink)(self.scratch);
        result
    }
}

impl Device for Port<'_> {
    type RxToken<'b>
        = Incoming<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Outgoing<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let packet = self.incoming.take()?;
        Some((Incoming(packet), self.outgoing()))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        Some(self.outgoing())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}
