//! DNS settings against a system in memory: of programs that are away, by means that change, and failures on the way.

use weft_model::Plan;
use weft_platform::fake::{self, FakeSystem, Step};
use weft_platform::{Before, Platform};

use super::*;
use crate::journal::Journal;
use crate::state::StateDir;
use crate::testing::connected;

struct Bench {
    system: FakeSystem,
    applier: Applier,
    state: StateDir,
    _folder: tempfile::TempDir,
}

/// A system whose DNS settings are changed in this mode.
fn bench(mode: DnsMode) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(folder.path()).unwrap();
    let (platform, system) = fake::platform();
    system.change_dns_keeper(|keeper| keeper.mode = mode);
    let applier = applier(&state, platform);
    Bench { system, applier, state, _folder: folder }
}

fn applier(state: &StateDir, platform: Platform) -> Applier {
    Applier::new(platform, Journal::open(state).unwrap().0)
}

impl Bench {
    fn apply(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        self.applier.apply(plan, &mut drop)
    }

    fn go_away(&self) {
        self.system.change_dns_keeper(|keeper| keeper.is_away = true);
    }

    fn come_back(&self) {
        self.system.change_dns_keeper(|keeper| keeper.is_away = false);
    }

    /// What the keeper has.
    fn kept(&self) -> String {
        String::from_utf8_lossy(self.system.state().dns_keeper.settings.content()).into_owned()
    }

    fn is_in_force(&self) -> bool {
        matches!(self.applier.look_at_dns(), DnsLook::Set(_, Ok(DnsStanding::InForce)))
    }

    fn is_unset(&self) -> bool {
        matches!(self.applier.look_at_dns(), DnsLook::Unset)
    }
}

fn searching(number: u64, domain: &str) -> Plan {
    let mut plan = connected(number);
    plan.dns.as_mut().unwrap().search = vec![domain.parse().unwrap()];
    plan
}

const KEPT: [DnsMode; 4] =
    [DnsMode::ResolvedLink, DnsMode::ResolvedGlobal, DnsMode::NetworkManager, DnsMode::Resolvconf];

#[test]
fn settings_of_a_program_that_is_away_are_owed_until_it_runs() {
    for mode in KEPT {
        let mut bench = bench(mode);
        let before = bench.kept();
        bench.apply(&connected(1)).unwrap();
        assert!(bench.is_in_force() && bench.kept().contains("127.0.2.2"), "{mode}");
        bench.go_away();
        bench.apply(&Plan::disconnected(2)).unwrap();
        assert!(matches!(bench.applier.look_at_dns(), DnsLook::Unwanted));
        assert_eq!(bench.applier.settle_dns(), [Undone::Owed(mode)], "{mode}");
        // Another process knows of it too, and however often one asks.
        bench.applier = applier(&bench.state, bench.system.platform());
        for _ in 0..2 {
            assert_eq!(bench.applier.undo(), [Undone::Owed(mode)], "{mode}");
        }
        bench.come_back();
        assert_eq!(bench.applier.settle_dns(), [Undone::Restored(DNS)], "{mode}");
        assert_eq!((bench.kept(), bench.applier.settle_dns()), (before, Vec::new()), "{mode}");
        assert!(bench.system.is_clean() && !bench.state.path("journal.json").exists(), "{mode}");
    }
}

#[test]
fn a_plan_that_comes_while_the_keeper_is_away_is_not_set_and_that_is_known() {
    let mut bench = bench(DnsMode::NetworkManager);
    bench.apply(&connected(1)).unwrap();
    bench.go_away();
    bench.apply(&searching(2, "branch.example")).unwrap();
    assert!(!bench.kept().contains("branch.example"));
    assert!(matches!(
        bench.applier.look_at_dns(),
        DnsLook::Set(DnsMode::NetworkManager, Ok(DnsStanding::Away))
    ));
    assert!(!bench.applier.set_dns_again(false).unwrap(), "nothing can be set");
    bench.come_back();
    assert!(bench.is_unset());
    assert!(bench.applier.set_dns_again(false).unwrap());
    assert!(bench.is_in_force() && bench.kept().contains("branch.example"));
    // The very same plan, asserted while the keeper is away, is not missed.
    bench.go_away();
    bench.apply(&searching(3, "branch.example")).unwrap();
    bench.come_back();
    assert!(bench.is_in_force());
}

#[test]
fn nothing_is_set_again_where_the_plan_has_nothing() {
    let mut bench = bench(DnsMode::File);
    assert!(!bench.applier.set_dns_again(true).unwrap());
    bench.apply(&Plan::disconnected(1)).unwrap();
    assert!(!bench.applier.set_dns_again(false).unwrap());
    assert_eq!(bench.system.state().resolv_conf.content(), fake::platform().1.resolv_conf().as_bytes());
}

#[test]
fn settings_whose_record_is_lost_on_the_way_to_other_means_are_missed() {
    let mut bench = bench(DnsMode::File);
    let before = bench.system.resolv_conf();
    bench.apply(&connected(1)).unwrap();
    bench.system.change_dns_keeper(|keeper| keeper.mode = DnsMode::Resolvconf);
    assert!(matches!(
        bench.applier.look_at_dns(),
        DnsLook::Set(DnsMode::File, Ok(DnsStanding::OtherMode(DnsMode::Resolvconf)))
    ));
    bench.system.fail_next(Step::DnsSnapshot, "no answer");
    let error = bench.applier.set_dns_again(true).unwrap_err().to_string();
    assert!(error.contains("no answer"), "{error}");
    assert_eq!(bench.system.resolv_conf(), before);
    assert!(bench.is_unset());
    assert!(bench.applier.set_dns_again(false).unwrap());
    assert!(bench.is_in_force() && bench.kept().contains("127.0.2.2"));
    assert_eq!(bench.system.resolv_conf(), before);
}

#[test]
fn settings_that_were_set_in_part_are_missed() {
    let mut bench = bench(DnsMode::NetworkManager);
    bench.apply(&connected(1)).unwrap();
    bench.apply(&searching(2, "branch.example")).unwrap();
    bench.system.fail_next(Step::DnsWrite, "not allowed");
    bench.system.change_dns_keeper(|keeper| {
        let content = b"nameserver 192.0.2.99\n".to_vec();
        keeper.settings = Before::File { content, mode: 0o644, uid: 0, gid: 0 };
    });
    assert!(matches!(bench.applier.look_at_dns(), DnsLook::Set(_, Ok(DnsStanding::Replaced { .. }))));
    bench.applier.set_dns_again(false).unwrap_err();
    // Even where what stands by chance is what the record has.
    assert!(!bench.is_in_force());
    assert!(bench.applier.set_dns_again(false).unwrap());
    assert!(bench.is_in_force());
}

#[test]
fn a_keeper_that_gives_way_to_another_is_paid_when_it_comes_back() {
    let mut bench = bench(DnsMode::NetworkManager);
    let (kept, file) = (bench.kept(), bench.system.resolv_conf());
    bench.apply(&connected(1)).unwrap();
    bench.system.change_dns_keeper(|keeper| (keeper.is_away, keeper.mode) = (true, DnsMode::File));
    assert!(bench.applier.set_dns_again(true).unwrap());
    assert!(bench.is_in_force() && bench.system.resolv_conf().contains("127.0.2.2"));
    assert_eq!(bench.applier.settle_dns(), [Undone::Owed(DnsMode::NetworkManager)]);
    // It comes back and is set in the file's place: one restore takes back what either set.
    bench.system.change_dns_keeper(|keeper| (keeper.is_away, keeper.mode) = (false, DnsMode::NetworkManager));
    assert!(bench.applier.set_dns_again(true).unwrap());
    assert_eq!((bench.is_in_force(), bench.system.resolv_conf()), (true, file));
    assert_eq!(bench.applier.settle_dns(), []);
    bench.apply(&Plan::disconnected(2)).unwrap();
    assert_eq!(bench.kept(), kept);
}

#[test]
fn a_journal_that_cannot_be_written_loses_no_outcome() {
    let mut bench = bench(DnsMode::NetworkManager);
    bench.apply(&connected(1)).unwrap();
    bench.go_away();
    bench.apply(&Plan::disconnected(2)).unwrap();
    bench.system.change_dns_keeper(|keeper| keeper.mode = DnsMode::Resolvconf);
    bench.come_back();
    bench.apply(&connected(3)).unwrap();
    // The first debt is settled by now; two more come.
    bench.go_away();
    bench.apply(&Plan::disconnected(4)).unwrap();
    let path = bench.state.path("");
    bench.come_back();
    std::fs::remove_dir_all(&path).unwrap();
    let outcomes = bench.applier.settle_dns();
    assert!(matches!(&outcomes[..], [Undone::Failed(why)] if why.contains("journal")), "{outcomes:?}");
    // It is settled again, which is harmless.
    StateDir::open(&path).unwrap();
    assert_eq!(bench.applier.settle_dns(), [Undone::Restored(DNS)]);
    assert_eq!(bench.applier.settle_dns(), []);
}

#[test]
fn a_renewed_leases_resolvers_become_the_former_ones() {
    let mut bench = bench(DnsMode::File);
    assert!(matches!(bench.applier.look_at_dns(), DnsLook::Unwanted));
    let changes = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let told = std::sync::Arc::clone(&changes);
    let count = move || {
        told.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    };
    let _watch = bench.applier.watch_dns(Box::new(count)).unwrap();
    bench.apply(&connected(1)).unwrap();
    assert!(bench.is_in_force());

    let before = changes.load(std::sync::atomic::Ordering::SeqCst);
    bench.system.write_resolv_conf("# Generated by dhcpcd from eth0.dhcp\nnameserver 198.51.100.53\n");
    assert_eq!(changes.load(std::sync::atomic::Ordering::SeqCst), before + 1);
    let DnsLook::Set(DnsMode::File, Ok(DnsStanding::Replaced { found, by })) = bench.applier.look_at_dns()
    else {
        panic!("it holds")
    };
    let expected = ("the fake system's resolv.conf names 198.51.100.53", Some("dhcpcd"));
    assert_eq!((found.as_str(), by.as_deref()), expected);
    assert!(bench.applier.set_dns_again(false).unwrap());
    assert!(bench.is_in_force());
    assert_eq!(bench.applier.system_dns().unwrap(), ["198.51.100.53".parse::<IpAddr>().unwrap()]);
    assert!(bench.applier.undo().iter().all(|one| !matches!(one, Undone::Failed(_))));
    assert!(bench.system.resolv_conf().contains("nameserver 198.51.100.53\n"));
}
