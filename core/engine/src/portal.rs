//! An open captive portal: for a bounded time, names go to the resolvers that the device had before Weft.

use std::time::{Duration, Instant};

use crate::effect::Effect;
use crate::engine::Engine;
use crate::timers::TimerKind;

impl Engine {
    /// A captive portal wants the user, or has let him through. While one is open, every name goes to the device's
    /// former resolvers outside the tunnel, and the firewall lets Weft's own queries to them pass. It closes by itself
    /// when the profile's time is over; saying again that it is open does not prolong that. Nothing opens where the
    /// profile allows no time, where Weft answers no queries, or on a device that is not on its way up.
    pub fn set_captive_portal(&mut self, open: bool, now: Instant) {
        if open {
            self.open_portal(now);
        } else {
            self.close_portal(now);
        }
        self.tell_status(now);
    }

    fn open_portal(&mut self, now: Instant) {
        let seconds = self.settings.captive_portal.value;
        if self.portal.is_some() || seconds == 0 || !self.phase.is_active() || !self.serves_dns() {
            return;
        }
        let until = now + Duration::from_secs(seconds.into());
        self.portal = Some(until);
        self.timers.arm(TimerKind::Portal, until);
        self.propose_again(now);
        self.effects.push_back(Effect::Portal(Some(until)));
    }

    /// Closes it, and the firewall's openings with it.
    pub(crate) fn close_portal(&mut self, now: Instant) {
        if self.portal.is_some() {
            self.end_portal();
            self.propose_again(now);
        }
    }

    /// Closes it, where a plan without its openings follows anyway.
    pub(crate) fn end_portal(&mut self) {
        self.timers.cancel(TimerKind::Portal);
        if self.portal.take().is_some() {
            self.effects.push_back(Effect::Portal(None));
        }
    }
}
