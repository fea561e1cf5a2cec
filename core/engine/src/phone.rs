//! What a device needs whose names and packets come by its tunnel interface alone (mobile).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use weft_model::profile::HostPattern;
use weft_model::{AddressExplanation, DomainName, HostExplanation, LocalPolicy, UserError};
use weft_policy::{NetSet, PlanInputs, PlanPhase};

use crate::effect::Effect;
use crate::engine::Engine;
use crate::lifecycle::Phase;
use crate::timers::TimerKind;

/// How long a connect waits for the addresses of exact host names. What is not known by then goes the way of the rest
/// until it is learnt, as after any look-up.
const HOSTS_TIME: Duration = Duration::from_secs(2);

impl Engine {
    /// Whether queries come as packets of the interface.
    pub(crate) fn is_phone(&self) -> bool {
        !self.sentinels.is_empty()
    }

    /// The split tunnel's names that can be looked up: those below a suffix cannot.
    fn exact_hosts(&self) -> impl Iterator<Item = &DomainName> {
        let hosts: &[_] = if self.learns() { &self.settings.split_tunnel.value.hosts } else { &[] };
        hosts.iter().filter_map(|host| match host {
            HostPattern::Exact(name) => Some(name),
            HostPattern::Below(_) => None,
        })
    }

    /// Whether a connect looks names up before the plan that the device is connected by. Where a new address means a
    /// new interface, what is known beforehand spares one. On desktop an answer waits for its route, and nothing is
    /// gained.
    pub(crate) fn looks_up_hosts(&self) -> bool {
        self.is_phone() && self.exact_hosts().next().is_some()
    }

    /// Whether names are being looked up before anybody can have asked for them, so that no answer need wait.
    pub(crate) fn is_looking_up(&self) -> bool {
        matches!(self.phase, Phase::Proving(proof) if !proof.hosts)
    }

    /// The DNS proxy runs, inside the tunnel as ever: it can be asked.
    pub(crate) fn look_up_hosts(&mut self, now: Instant) {
        if self.is_looking_up() && !self.timers.is_armed(TimerKind::Hosts) {
            self.timers.arm(TimerKind::Hosts, now + HOSTS_TIME);
            let names = self.exact_hosts().cloned().collect();
            self.effects.push_back(Effect::ResolveHosts(names));
        }
    }

    /// The names of an [`Effect::ResolveHosts`] were looked up, as far as they could be: what was found came by
    /// [`Engine::handle_learnt`] before.
    pub fn handle_hosts_resolved(&mut self, now: Instant) {
        self.hosts_done(now);
        self.tell_status(now);
    }

    pub(crate) fn hosts_done(&mut self, now: Instant) {
        self.timers.cancel(TimerKind::Hosts);
        let Phase::Proving(proof) = &mut self.phase else { return };
        if !proof.hosts {
            proof.hosts = true;
            if self.holds() {
                // From now on answers wait for their addresses.
                self.start_dns();
            }
            self.advance(now);
        }
    }

    /// Serves the interface's packets where no tunnel carries them: the queries of DNS only, and in a device that is
    /// blocked the word that there is no way.
    pub(crate) fn follow_front(&mut self) {
        let tunnels = self.settings.service_mode.value.tunnels_traffic();
        let wanted = match self.phase {
            Phase::Unable => tunnels && self.registration.is_some(),
            Phase::Connected => !tunnels && self.serves_dns(),
            // What ran in the former mode does until the interface is the present one's.
            Phase::Preparing(_) if self.keeps_dns => self.front,
            Phase::Proving(_) | Phase::Switching(_) if self.keeps_dns => !tunnels,
            _ => false,
        };
        if self.plans.is_in_flight() {
            return;
        }
        if self.is_phone() && wanted && !self.plans.has_failed() && !self.front {
            self.front = true;
            self.effects.push_back(Effect::StartFront);
        } else if self.front && !wanted {
            self.front = false;
            self.effects.push_back(Effect::StopTunnel);
        }
    }

    /// What the administrator decides on the device itself, in place of what it was before. What is up follows.
    ///
    /// # Errors
    /// [`UserError::Settings`] where it cannot be; nothing has changed then.
    pub fn set_local_policy(&mut self, policy: LocalPolicy, now: Instant) -> Result<(), UserError> {
        policy.validate().map_err(|error| UserError::Settings { detail: error.to_string() })?;
        if self.policy != policy {
            self.policy = policy;
            self.settings_changed(false, now);
            self.tell_status(now);
        }
        Ok(())
    }

    /// By whom a name is resolved and which way its addresses go, once connected under the settings of now.
    #[must_use]
    pub fn explain_host(&self, name: &DomainName) -> HostExplanation {
        self.explain(|inputs| weft_policy::explain_host(inputs, name))
    }

    /// Which way an address goes, once connected under the settings and with the learnt addresses of now.
    #[must_use]
    pub fn explain_address(&self, address: IpAddr) -> AddressExplanation {
        self.explain(|inputs| weft_policy::explain_address(inputs, address))
    }

    fn explain<T>(&self, explain: impl FnOnce(&PlanInputs<'_>) -> T) -> T {
        let learnt: NetSet = self.learning.addresses();
        explain(&PlanInputs {
            system_resolvers: &self.system_dns,
            sentinels: &self.sentinels,
            learnt: Some(&learnt),
            ..PlanInputs::new(&self.settings, self.registration.as_ref(), PlanPhase::Connected)
        })
    }
}
