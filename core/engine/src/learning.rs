//! Addresses learnt from answers: into the next plan, and the answers out once that plan is in force.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use weft_model::PlanNumber;
use weft_model::settings::SplitTunnelMode;
use weft_policy::{LearntFull, LearntHosts, NetSet, PlanInputs, PlanPhase, TunnelSet};

use crate::effect::Effect;
use crate::engine::Engine;
use crate::lifecycle::Phase;
use crate::timers::TimerKind;

/// Learnt addresses that are kept at once. At some 100 bytes each with their index, less than half a MiB; the firewall's
/// sets and the routes that hold them are looked up in by hash and by trie, whatever their size.
pub const LEARNT_CAPACITY: usize = 4096;

/// The same where each one is a hole in the routes: a hole in IPv4 takes up to 32 routes, so that these make at most
/// 8,192, which a system call of a phone still carries.
pub const LEARNT_CAPACITY_AS_ROUTES: usize = 256;

/// How long an address outlives its TTL: programs keep a connection longer than the answer that led to it. An idle one
/// that is to be kept sends something every few minutes, for the sake of NAT; ten minutes see most of them end, and
/// whoever looks the name up meanwhile prolongs its addresses.
pub const LEARNT_GRACE: Duration = Duration::from_secs(600);

/// The longest TTL that counts (RFC 8767, section 4, on caps): longer ones are mistakes, or an attempt to fill the table.
const MAX_TTL: Duration = Duration::from_secs(7 * 86_400);

/// The most addresses of one answer. An answer with more is answered with SERVFAIL: left out, an address would go the
/// wrong way.
pub const MAX_LEARNT_ADDRESSES: usize = 64;

/// The most answers that wait. The resolver bounds them too; of a shell that never acknowledges, the oldest go first.
const MAX_WAITING: usize = 1024;

/// The least time from one plan for learnt addresses to the next where they are routes: making the interface anew
/// breaks connections on some systems.
const LEARNT_PAUSE: Duration = Duration::from_secs(10);

/// What was learnt, and who waits for it.
#[derive(Debug)]
pub(crate) struct Learning {
    hosts: LearntHosts,
    /// Whose way learning them would change, under the settings of now.
    learnable: NetSet,
    waiting: VecDeque<Waiting>,
    /// Addresses came in that no plan has.
    unplanned: bool,
    /// When addresses last made a plan necessary.
    planned_at: Option<Instant>,
}

/// What other settings leave of what was learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// It came of other host entries, or means something else now.
    Nothing,
    /// What no entry of addresses covers.
    Learnable,
    /// All, until it ends. Clients have the answers still, and what does not go into the tunnel any more leaves beside
    /// it; what goes in and need not does no harm.
    Everything,
}

#[derive(Debug)]
struct Waiting {
    hold: u64,
    addresses: Vec<IpAddr>,
}

impl Learning {
    pub(crate) fn new(sentinels: &[IpAddr]) -> Self {
        let capacity = if sentinels.is_empty() { LEARNT_CAPACITY } else { LEARNT_CAPACITY_AS_ROUTES };
        Self {
            hosts: LearntHosts::new(capacity),
            learnable: NetSet::empty(),
            waiting: VecDeque::new(),
            unplanned: false,
            planned_at: None,
        }
    }

    /// The addresses that are known.
    pub(crate) fn addresses(&self) -> NetSet {
        self.hosts.addresses()
    }

    /// The addresses for a plan that is about to be made.
    pub(crate) fn begin_plan(&mut self, now: Instant) -> NetSet {
        self.hosts.expire(now);
        self.hosts.addresses()
    }

    /// Takes out the waiting answers for which `leaves` holds, and returns their holds. It is given the lowest plan
    /// number that has all of an answer's addresses; none where one of them is in no plan.
    fn take_waiting(&mut self, mut leaves: impl FnMut(Option<PlanNumber>) -> bool) -> Vec<u64> {
        let hosts = &self.hosts;
        let mut taken = Vec::new();
        self.waiting.retain(|waiting| {
            let stays = !leaves(hosts.plan_of(&waiting.addresses));
            if !stays {
                taken.push(waiting.hold);
            }
            stays
        });
        taken
    }
}

impl Engine {
    /// An answer came whose name a host entry of the split tunnel matches, with these addresses and their TTLs. Its
    /// [`Effect::ReleaseAnswers`] follows: at once where the addresses lead the right way already, or need no other;
    /// else when a plan that holds them is acknowledged, has failed, or is not to be expected any more. Answers that
    /// come while a plan is unacknowledged share the next one.
    pub fn handle_learnt(&mut self, hold: u64, addresses: &[(IpAddr, Duration)], now: Instant) {
        if let Some(result) = self.learn(hold, addresses, now) {
            self.release(vec![hold], result);
        }
        self.tell_status(now);
    }

    /// What becomes of the answer; none where it waits.
    fn learn(
        &mut self,
        hold: u64,
        addresses: &[(IpAddr, Duration)],
        now: Instant,
    ) -> Option<Result<(), &'static str>> {
        if !self.learns() {
            return Some(Ok(()));
        }
        if addresses.len() > MAX_LEARNT_ADDRESSES {
            return Some(Err("the answer has too many addresses for a split-tunnel host"));
        }
        if !self.may_serve() {
            return Some(Err("the tunnel is not up"));
        }
        // A mapped address is reached by IPv4 (RFC 4291, section 2.5.5.2).
        let moved = addresses.iter().map(|(address, ttl)| (address.to_canonical(), *ttl));
        let moved = moved.filter(|(address, _)| self.learning.learnable.contains(*address));
        let (moved, ttls): (Vec<IpAddr>, Vec<Duration>) = moved.unzip();
        let Some(ttl) = ttls.into_iter().max() else { return Some(Ok(())) };
        let end = now + ttl.min(MAX_TTL) + LEARNT_GRACE;
        match self.learning.hosts.insert(&moved, end, self.expendable(now)) {
            Ok(new) => self.learning.unplanned |= new,
            Err(LearntFull) => return Some(Err("the table of split-tunnel hosts is full")),
        }
        let acknowledged = self.plans.acknowledged();
        if self.learning.hosts.plan_of(&moved).is_some_and(|number| number <= acknowledged) {
            return Some(Ok(()));
        }
        let waits = self.holds();
        if waits {
            self.wait_for_plan(Waiting { hold, addresses: moved });
        }
        self.plan_learnt(now);
        (!waits).then_some(Ok(()))
    }

    /// By when the addresses end that make room in a full table; none where all may. Out of Include's, an address that
    /// clients still have from an answer would leave the tunnel: only those whose TTL is over may.
    fn expendable(&self, now: Instant) -> Option<Instant> {
        let includes = self.settings.split_tunnel.value.mode == SplitTunnelMode::Include;
        includes.then(|| now + LEARNT_GRACE)
    }

    fn wait_for_plan(&mut self, waiting: Waiting) {
        self.learning.waiting.push_back(waiting);
        if self.learning.waiting.len() > MAX_WAITING
            && let Some(oldest) = self.learning.waiting.pop_front()
        {
            self.release(vec![oldest.hold], Err("too many answers wait for a plan"));
        }
    }

    /// Makes a plan with the addresses that no plan has, unless one is under way, after which this is called again.
    pub(crate) fn plan_learnt(&mut self, now: Instant) {
        // A plan that failed is made again by its own timer, with everything that is known by then.
        let busy = self.plans.is_in_flight() || self.plans.has_failed();
        // The plan that a phone connects by has them, and comes soon.
        let soon = self.is_phone() && matches!(self.phase, Phase::Proving(_));
        if soon || !self.learning.unplanned || busy || !self.phase.is_active() {
            return;
        }
        let earliest = self.learning.planned_at.map(|last| last + LEARNT_PAUSE);
        if let Some(at) = earliest.filter(|at| !self.sentinels.is_empty() && *at > now) {
            self.timers.arm(TimerKind::Learnt, at);
            return;
        }
        self.learning.planned_at = Some(now);
        self.propose_again(now);
    }

    /// The plan `number` was made with every address that is known.
    pub(crate) fn learnt_planned(&mut self, number: PlanNumber) {
        self.learning.hosts.planned(number);
        self.learning.unplanned = false;
        self.timers.cancel(TimerKind::Learnt);
        let lost = self.learning.take_waiting(|plan| plan.is_none());
        self.release(lost, Err("other addresses took their place"));
        self.release_acknowledged();
    }

    /// The shell has applied plans.
    pub(crate) fn learnt_plan_done(&mut self, now: Instant) {
        self.release_acknowledged();
        self.plan_learnt(now);
    }

    fn release_acknowledged(&mut self) {
        let acknowledged = self.plans.acknowledged();
        let done = self.learning.take_waiting(|plan| plan.is_some_and(|number| number <= acknowledged));
        self.release(done, Ok(()));
    }

    /// Nobody who waits gets what he waits for.
    pub(crate) fn release_all(&mut self, detail: &str) {
        let all = self.learning.take_waiting(|_| true);
        self.release(all, Err(detail));
    }

    fn release(&mut self, holds: Vec<u64>, result: Result<(), &str>) {
        if !holds.is_empty() {
            let result = result.map_err(str::to_owned);
            self.effects.push_back(Effect::ReleaseAnswers { holds, result });
        }
    }

    /// What was learnt belongs to a device that is up.
    pub(crate) fn forget_learnt(&mut self) {
        self.release_all("the device is disconnecting");
        self.learning.hosts.clear();
        self.learning.unplanned = false;
        self.learning.planned_at = None;
        self.timers.cancel(TimerKind::Learnt);
    }

    /// The settings or the registration are others. Where only lists changed, the answers that wait for what is
    /// forgotten are let go by the next plan.
    pub(crate) fn review_learnt(&mut self, keeps: Keeps) {
        let inputs = PlanInputs {
            sentinels: &self.sentinels,
            ..PlanInputs::new(&self.settings, self.registration.as_ref(), PlanPhase::Connected)
        };
        let learns = self.learns();
        let learnable = if learns { TunnelSet::compile(&inputs).learnable } else { NetSet::empty() };
        match keeps {
            Keeps::Everything if learns => {
                let again = learnable.subtract(&self.learning.learnable);
                self.learning.hosts.unplan(&again);
            }
            Keeps::Everything | Keeps::Nothing => self.learning.hosts.clear(),
            Keeps::Learnable => self.learning.hosts.retain(&learnable),
        }
        if learnable != self.learning.learnable {
            // Of an answer that waits, addresses may matter now that did not when it came.
            self.release_all("the split tunnel is another one");
            self.learning.learnable = learnable;
        }
    }

    /// Whether addresses are learnt under the settings of now.
    pub(crate) fn learns(&self) -> bool {
        self.settings.service_mode.value.tunnels_traffic()
            && self.serves_dns()
            && !self.settings.split_tunnel.value.hosts.is_empty()
    }

    /// Whether answers wait for their addresses. Where an excluded address is a hole in the routes, its packets go
    /// through the tunnel until the hole is there, and no answer has to wait for that.
    pub(crate) fn holds(&self) -> bool {
        self.sentinels.is_empty() || self.settings.split_tunnel.value.mode == SplitTunnelMode::Include
    }
}
