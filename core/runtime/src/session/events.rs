//! What a session has to tell its shell, held until it is pulled: the newest of each kind, so it cannot grow.

use std::sync::Mutex;

use tokio::sync::Notify;
use weft_model::{Event, Plan, Settings, Status};

use crate::lock::lock;

/// The newest event of each kind. A plan that was not pulled yet gives way to a newer one, as a status does.
#[derive(Debug, Default)]
pub(super) struct Events {
    pending: Mutex<Pending>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    plan: Option<Box<Plan>>,
    settings: Option<Box<Settings>>,
    status: Option<Status>,
    revoked: bool,
    ended: bool,
}

impl Events {
    pub(super) fn push(&self, event: Event) {
        let mut pending = self.lock();
        match event {
            Event::Plan(plan) => pending.plan = Some(plan),
            Event::Settings(settings) => pending.settings = Some(settings),
            Event::Status(status) => pending.status = Some(status),
            Event::Revoked => pending.revoked = true,
        }
        drop(pending);
        self.changed.notify_one();
    }

    /// Nothing more will come.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    /// The next event, plans first; none after [`end`](Self::end).
    pub(super) async fn next(&self) -> Option<Event> {
        loop {
            {
                let mut pending = self.lock();
                if let Some(event) = pending.take() {
                    return Some(event);
                }
                if pending.ended {
                    // Another waiter must see the end too.
                    self.changed.notify_one();
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        lock(&self.pending)
    }
}

impl Pending {
    fn take(&mut self) -> Option<Event> {
        if let Some(plan) = self.plan.take() {
            return Some(Event::Plan(plan));
        }
        if let Some(settings) = self.settings.take() {
            return Some(Event::Settings(settings));
        }
        if let Some(status) = self.status.take() {
            return Some(Event::Status(status));
        }
        std::mem::take(&mut self.revoked).then_some(Event::Revoked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(number: u64) -> Event {
        Event::Plan(Box::new(Plan::disconnected(number)))
    }

    #[tokio::test]
    async fn a_newer_plan_takes_the_place_of_one_that_was_not_pulled() {
        let events = Events::default();
        events.push(Event::Revoked);
        events.push(plan(1));
        events.push(plan(2));
        assert_eq!(events.next().await, Some(plan(2)));
        assert_eq!(events.next().await, Some(Event::Revoked));
        events.end();
        assert_eq!(events.next().await, None);
        assert_eq!(events.next().await, None);
    }
}
