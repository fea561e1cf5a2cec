//! Keeps the system's DNS settings in force where another program replaces them, without a fight: a bounded number of
//! times, then it says so and waits until the other program rests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use weft_model::DnsMode;
use weft_platform::{DnsStanding, PlatformError};

use crate::applier;
use crate::daemon::Daemon;

/// How often the settings are set again within [`WITHIN`]: a DHCP client that renews on every link, or a program that
/// starts, replaces them a few times; one that watches them as Weft does never ends.
const MOST: usize = 5;
/// The time that is looked back on, and how long another program must rest before it counts as another change.
const WITHIN: Duration = Duration::from_secs(60);

/// How often the settings were replaced, and whether Weft has given in.
#[derive(Debug, Default)]
struct Contest {
    /// When the settings were set again, oldest first.
    set: VecDeque<Instant>,
    /// When the settings were last found replaced after Weft gave in.
    given_in: Option<Instant>,
}

impl Contest {
    /// Whether replaced settings are to be set again.
    fn answers(&mut self, now: Instant) -> bool {
        if let Some(last) = self.given_in {
            if now.saturating_duration_since(last) < WITHIN {
                self.given_in = Some(now);
                return false;
            }
            *self = Self::default();
        }
        while self.set.front().is_some_and(|first| now.saturating_duration_since(*first) >= WITHIN) {
            self.set.pop_front();
        }
        if self.set.len() >= MOST {
            self.given_in = Some(now);
            return false;
        }
        self.set.push_back(now);
        true
    }

    /// When whoever was given in to has rested long enough; none where nobody was.
    fn rest_ends(&self) -> Option<Instant> {
        self.given_in.map(|last| last + WITHIN)
    }

    /// The settings hold, or there are none: whoever was given in to is done.
    fn holds(&mut self) {
        if self.given_in.is_some() {
            *self = Self::default();
        }
    }
}

/// Looks at the settings after each change that may have touched them, and once the program that was given in to has
/// rested.
pub(crate) async fn follow(daemon: Arc<Daemon>, mut changes: watch::Receiver<()>) {
    let mut contest = Contest::default();
    // What a former daemon owes may be paid by now.
    let mut first = true;
    // The rest that was waited for last: a look after it may find nothing that ends the contest.
    let mut waited = None;
    loop {
        if !std::mem::take(&mut first) {
            let rest = contest.rest_ends().filter(|rest| Some(*rest) != waited);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(rest.unwrap_or_else(Instant::now)), if rest.is_some() => waited = rest,
            }
        }
        let looked = daemon.system.ask(|applier| {
            let settled = applier.settle_dns();
            (settled, applier.dns_mode().zip(applier.dns_standing()))
        });
        let Some((settled, standing)) = looked.await else { return };
        match settled {
            Ok(settled) => settled.iter().for_each(|one| tracing::info!("{one}")),
            Err(error) => tracing::warn!("{error}"),
        }
        judge(&daemon, &mut contest, standing).await;
    }
}

type Looked = Option<(DnsMode, Result<DnsStanding, PlatformError>)>;

/// Does what a look calls for.
async fn judge(daemon: &Daemon, contest: &mut Contest, looked: Looked) {
    let Some((mode, standing)) = looked else {
        contest.holds();
        return daemon.warn_of_dns(None).await;
    };
    match standing {
        Ok(DnsStanding::InForce) => {
            contest.holds();
            daemon.warn_of_dns(None).await;
            // Whoever keeps the settings may have learnt of other resolvers.
            daemon.refresh_system_dns().await;
        }
        Ok(DnsStanding::Shared { found }) => {
            contest.holds();
            daemon.warn_of_dns(Some(format!("names go past Weft as well: {found}"))).await;
            daemon.refresh_system_dns().await;
        }
        Ok(DnsStanding::Away) => {
            let keeper = applier::keeper(mode);
            let warning = format!("{keeper} does not run: names may not be answered until it does");
            daemon.warn_of_dns(Some(warning)).await;
        }
        Ok(DnsStanding::Replaced { found, by }) => {
            answer(daemon, contest, false, &found, by.as_deref()).await
        }
        Ok(DnsStanding::OtherMode(mode)) => {
            let found = format!("they are to be changed by {mode} now");
            answer(daemon, contest, true, &found, None).await;
        }
        Err(error) => tracing::warn!("whether the DNS settings hold cannot be told: {error}"),
    }
}

/// Sets replaced settings again, or says that it does not.
async fn answer(daemon: &Daemon, contest: &mut Contest, anew: bool, found: &str, by: Option<&str>) {
    let by = by.unwrap_or("another program");
    if !contest.answers(Instant::now()) {
        let warning = warning(found, by);
        tracing::warn!("{warning}");
        return daemon.warn_of_dns(Some(warning)).await;
    }
    match daemon.system.run(move |applier| applier.set_dns_again(anew)).await {
        Some(Ok(())) => {
            tracing::warn!("the DNS settings were replaced by {by} ({found}); they are set again");
            daemon.warn_of_dns(None).await;
            daemon.refresh_system_dns().await;
        }
        Some(Err(error)) => {
            tracing::error!("the DNS settings were replaced by {by} ({found}): {error}");
            let warning = format!("the DNS settings were replaced and cannot be set again: {error}");
            daemon.warn_of_dns(Some(warning)).await;
        }
        None => {}
    }
}

fn warning(found: &str, by: &str) -> String {
    format!(
        "{by} keeps replacing the DNS settings, and names go past Weft ({found}): stop it, or have it leave them \
         alone, and connect again"
    )
}

#[cfg(test)]
mod tests {
    use weft_platform::fake;

    use super::*;
    use crate::applier::Applier;
    use crate::journal::Journal;
    use crate::state::StateDir;
    use crate::testing;

    #[test]
    fn a_contest_ends_after_five_answers_and_begins_again_after_a_rest() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut contest = Contest::default();
        // Once in a while is no contest.
        assert!((0..20).all(|time| contest.answers(at(time * 30))));
        let mut contest = Contest::default();
        assert!((0..5).all(|time| contest.answers(at(time))));
        assert!(!contest.answers(at(5)));
        // The other program goes on: it is not answered, however long.
        assert!((1..10).all(|time| !contest.answers(at(5 + time * 59))));
        let last = 5 + 9 * 59;
        assert!(contest.answers(at(last + 60)));
        // Settings that hold again, by a new plan, are defended afresh.
        let mut contest = Contest::default();
        assert_eq!((0..9).filter(|time| contest.answers(at(*time))).count(), 5);
        contest.holds();
        assert!(contest.answers(at(9)));
        // While Weft answers, that its own settings hold is no sign of peace.
        let mut contest = Contest::default();
        let answered = (0..6).filter(|time| {
            contest.holds();
            contest.answers(at(*time))
        });
        assert_eq!(answered.count(), 5);
    }

    #[test]
    fn a_renewed_leases_resolvers_become_the_former_ones() {
        let (platform, system) = fake::platform();
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&StateDir::open(folder.path()).unwrap()).unwrap();
        let mut applier = Applier::new(platform, journal);
        assert!(applier.dns_standing().is_none());
        let changes = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let told = Arc::clone(&changes);
        let count = move || {
            told.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        };
        let _watch = applier.watch_dns(Box::new(count)).unwrap();
        applier.apply(&testing::connected(1), &mut |_| {}).unwrap();
        assert!(matches!(applier.dns_standing(), Some(Ok(DnsStanding::InForce))));

        let before = changes.load(std::sync::atomic::Ordering::SeqCst);
        system.write_resolv_conf("# Generated by dhcpcd from eth0.dhcp\nnameserver 198.51.100.53\n");
        assert_eq!(changes.load(std::sync::atomic::Ordering::SeqCst), before + 1);
        let Some(Ok(DnsStanding::Replaced { found, by })) = applier.dns_standing() else {
            panic!("it holds")
        };
        assert_eq!(
            (found.as_str(), by.as_deref()),
            ("the fake system's resolv.conf names 198.51.100.53", Some("dhcpcd"))
        );
        applier.set_dns_again(false).unwrap();
        assert!(matches!(applier.dns_standing(), Some(Ok(DnsStanding::InForce))));
        assert_eq!(applier.system_dns().unwrap(), ["198.51.100.53".parse::<std::net::IpAddr>().unwrap()]);
        assert!(applier.undo().iter().all(|one| !matches!(one, applier::Undone::Failed(_))));
        assert!(system.resolv_conf().contains("nameserver 198.51.100.53\n"));
    }

    #[test]
    fn a_warning_names_what_was_found_and_by_whom() {
        let text = warning("/etc/resolv.conf names 192.0.2.1", "dhclient");
        assert!(text.starts_with("dhclient keeps replacing the DNS settings"), "{text}");
        assert!(text.contains("(/etc/resolv.conf names 192.0.2.1)"), "{text}");
    }
}
