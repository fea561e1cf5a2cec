//! Look-ups of this process's own, by the same way as any query.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use weft_dns::{ClientId, Protocol};
use weft_model::{DnsLookup, DomainName};
use weft_policy::domains;

use super::core::{Client, Core};

/// The Internet class (RFC 1035, section 3.2.4).
const CLASS_IN: u16 = 1;
/// An empty OPT record that takes 1,232 bytes (RFC 6891): without one there are no extended errors.
const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];

/// Asks for a name. None where the proxy stops meanwhile.
pub(super) async fn lookup(core: Arc<Core>, name: DomainName, kind: u16) -> Option<DnsLookup> {
    let started = Instant::now();
    let (answered, answer) = oneshot::channel();
    let traced = core.trace(&query(&name, kind), answered);
    let core = Arc::downgrade(&core);
    // A proxy that stops drops whoever waits.
    let answer = answer.await.ok()?;
    core.upgrade()?.with(|state, _| state.engine.lookup_of(traced, &answer, started.elapsed()))
}

impl Core {
    fn trace(&self, query: &[u8], answered: oneshot::Sender<Vec<u8>>) -> ClientId {
        let (mut client, mut answer) = (Some(Client::Inside(answered)), Vec::new());
        let id = self.queries(|state, now| {
            let id = state.next_client();
            state.engine.trace(id);
            state.query(id, Protocol::Tcp, query, &mut answer, now, || client.take());
            id
        });
        if let Some(client) = client.filter(|_| !answer.is_empty()) {
            client.answer(answer);
        }
        id
    }
}

fn query(name: &DomainName, kind: u16) -> Vec<u8> {
    // Recursion is desired; one question, one additional record.
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend(domains::wire(name));
    query.extend(kind.to_be_bytes());
    query.extend(CLASS_IN.to_be_bytes());
    query.extend(OPT);
    query
}
