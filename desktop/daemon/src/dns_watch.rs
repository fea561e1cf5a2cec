//! Keeps the system's DNS settings in force where another program replaces them, without a fight: a bounded number of
//! times, then it says so and waits until the other program rests.

mod contest;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use weft_platform::DnsStanding;

use self::contest::Contest;
use crate::applier::{self, Applier, ApplyError, DnsLook, Undone};
use crate::daemon::Daemon;

/// The time that is looked back on, how long another program must rest before it counts as another change, and after
/// how long a look that failed is repeated.
const WITHIN: Duration = Duration::from_secs(60);
/// How often in a row looks that failed are repeated. After that, only a change of the system leads to another one.
const REPEATS: u32 = 5;

/// Whose DNS settings are kept in force.
pub(crate) trait Device: Send + Sync {
    /// Puts back what is owed, and looks at the settings. None: there is nothing to look at any more.
    fn look(&self) -> impl Future<Output = Option<(Vec<Undone>, DnsLook)>> + Send;

    /// As [`Applier::set_dns_again`].
    fn set_again(&self, anew: bool) -> impl Future<Output = Option<Result<bool, ApplyError>>> + Send;

    /// Says in every status what is wrong with the settings; none = nothing is.
    fn warn(&self, warning: Option<String>) -> impl Future<Output = ()> + Send;

    /// Asks whoever keeps the settings which resolvers there are besides Weft.
    fn refresh(&self) -> impl Future<Output = ()> + Send;

    /// The time.
    fn now(&self) -> Instant;

    /// Waits until then.
    fn until(&self, then: Instant) -> impl Future<Output = ()> + Send;
}

impl Device for Daemon {
    async fn look(&self) -> Option<(Vec<Undone>, DnsLook)> {
        self.system.ask(|applier| (applier.settle_dns(), applier.look_at_dns())).await
    }

    async fn set_again(&self, anew: bool) -> Option<Result<bool, ApplyError>> {
        self.system.run(move |applier: &mut Applier| applier.set_dns_again(anew)).await
    }

    async fn warn(&self, warning: Option<String>) {
        self.warn_of_dns(warning).await;
    }

    async fn refresh(&self) {
        self.refresh_system_dns().await;
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn until(&self, then: Instant) {
        tokio::time::sleep_until(then).await;
    }
}

/// How a look at the settings ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// What there was to do is done, or left to another program.
    Done,
    /// Something failed that may succeed later without a change that is told of.
    Failed,
}

/// When a look that failed is repeated.
#[derive(Debug, Default)]
struct Repeat {
    /// How many have failed in a row.
    failed: u32,
    at: Option<Instant>,
}

impl Repeat {
    fn note(&mut self, looked: Looked, now: Instant) {
        *self = match looked {
            Looked::Done => Self::default(),
            Looked::Failed => {
                Self { failed: self.failed + 1, at: (self.failed < REPEATS).then(|| now + WITHIN) }
            }
        };
    }
}

/// Looks at the settings now, after each change that may have touched them, once the program that was given in to has
/// rested, and some time after a failure. While nothing is wrong, nothing wakes it but a change.
pub(crate) async fn follow<D: Device>(device: Arc<D>, mut changes: watch::Receiver<()>) {
    let mut contest = Contest::default();
    let mut repeat = Repeat::default();
    // The rest that was waited for last: a look after it may find nothing that ends the contest.
    let mut waited = None;
    while let Some((settled, look)) = device.look().await {
        let news = settled.iter().filter(|one| !matches!(one, Undone::Owed(_)));
        news.for_each(Undone::log);
        let is_settled = !settled.iter().any(|one| matches!(one, Undone::Failed(_)));
        let looked = judge(&*device, &mut contest, look).await;
        repeat.note(if is_settled { looked } else { Looked::Failed }, device.now());

        let rest = contest.rest_ends().filter(|rest| Some(*rest) != waited);
        let next = rest.into_iter().chain(repeat.at).min();
        tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => repeat.failed = 0,
                Err(_) => return,
            },
            () = device.until(next.unwrap_or_else(|| device.now())), if next.is_some() => {
                if next == rest {
                    waited = rest;
                }
            }
        }
    }
}

/// Does what a look calls for.
async fn judge(device: &impl Device, contest: &mut Contest, look: DnsLook) -> Looked {
    let (mode, standing) = match look {
        DnsLook::Unwanted => {
            contest.holds();
            device.warn(None).await;
            return Looked::Done;
        }
        DnsLook::Unset => return answer(device, contest, Wrong::Unset).await,
        DnsLook::Set(mode, standing) => (mode, standing),
    };
    match standing {
        Ok(DnsStanding::InForce) => {
            contest.holds();
            device.warn(None).await;
            // Whoever keeps the settings may have learnt of other resolvers.
            device.refresh().await;
        }
        Ok(DnsStanding::Shared { found }) => {
            contest.holds();
            device.warn(Some(format!("names go past Weft as well: {found}"))).await;
            device.refresh().await;
        }
        Ok(DnsStanding::Away) => {
            let keeper = applier::keeper(mode);
            let warning = format!("{keeper} does not run: names may not be answered until it does");
            device.warn(Some(warning)).await;
        }
        Ok(DnsStanding::Replaced { found, by }) => {
            let by = by.unwrap_or_else(|| "another program".to_owned());
            return answer(device, contest, Wrong::Replaced { found, by }).await;
        }
        Ok(DnsStanding::OtherMode(mode)) => {
            let found = format!("they are to be changed by {mode} now");
            return answer(device, contest, Wrong::OtherMode { found }).await;
        }
        Err(error) => {
            let warning = format!("whether the DNS settings hold cannot be told: {error}");
            tracing::warn!("{warning}");
            device.warn(Some(warning)).await;
            return Looked::Failed;
        }
    }
    Looked::Done
}

/// What is wrong with settings that are to be set again.
enum Wrong {
    /// Weft's own are not there, and nobody replaced them.
    Unset,
    Replaced {
        found: String,
        by: String,
    },
    OtherMode {
        found: String,
    },
}

impl Wrong {
    /// What has happened.
    fn event(&self) -> String {
        match self {
            Self::Unset => "the DNS settings were not all set".to_owned(),
            Self::Replaced { found, by } => format!("the DNS settings were replaced by {by} ({found})"),
            Self::OtherMode { found } => format!("the DNS settings were replaced ({found})"),
        }
    }

    /// What people are told once it has happened too often.
    fn warning(&self) -> String {
        let (by, found) = match self {
            Self::Unset => {
                return "the DNS settings cannot be set, and names may go past Weft: `weft log` says why, and \
                        `weft dns status` what is in the way"
                    .to_owned();
            }
            Self::Replaced { found, by } => (by.as_str(), found),
            Self::OtherMode { found } => ("another program", found),
        };
        format!(
            "{by} keeps replacing the DNS settings, and names go past Weft ({found}): stop it, or have it leave \
             them alone, and connect again"
        )
    }
}

/// Sets settings again, or says that it does not.
async fn answer(device: &impl Device, contest: &mut Contest, wrong: Wrong) -> Looked {
    if !contest.answers(device.now()) {
        let warning = wrong.warning();
        tracing::warn!("{warning}");
        device.warn(Some(warning)).await;
        return Looked::Done;
    }
    let event = wrong.event();
    match device.set_again(matches!(wrong, Wrong::OtherMode { .. })).await {
        Some(Ok(true)) => {
            tracing::warn!("{event}; they are set again");
            device.warn(None).await;
            device.refresh().await;
            Looked::Done
        }
        // They went meanwhile, or whoever keeps them did, of which the next look tells more.
        Some(Ok(false)) => {
            tracing::info!("{event}; nothing is set at this moment");
            Looked::Failed
        }
        Some(Err(error)) => {
            tracing::error!("{event}: {error}");
            device.warn(Some(format!("{event} and cannot be set again: {error}"))).await;
            Looked::Failed
        }
        None => Looked::Done,
    }
}

#[cfg(test)]
#[path = "dns_watch_tests.rs"]
mod tests;
