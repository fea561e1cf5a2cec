//! The applier against a system in memory: order, failures, and a crash at every moment.

use std::panic::{AssertUnwindSafe, catch_unwind};

use weft_model::FirewallPlan;
use weft_model::settings::SplitTunnelMode;
use weft_platform::fake::{self, FakeSystem, Step};

use super::*;
use crate::state::StateDir;
use crate::testing::{Doom, Killed, connected, connecting, enforced, network};

struct Bench {
    system: FakeSystem,
    applier: Applier,
    state: StateDir,
    former: String,
    _folder: tempfile::TempDir,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(folder.path()).unwrap();
    let (platform, system) = fake::platform();
    let applier = Applier::new(platform, Journal::open(&state).unwrap().0);
    let former = system.resolv_conf();
    Bench { system, applier, state, former, _folder: folder }
}

impl Bench {
    fn apply(&mut self, plan: &Plan) -> Result<usize, ApplyError> {
        let mut attached = 0;
        self.applier.apply(plan, &mut |_| attached += 1).map(|()| attached)
    }

    /// Another process finds the system and the journal as this one left them.
    fn reborn(&mut self, platform: Platform) {
        self.applier = Applier::new(platform, Journal::open(&self.state).unwrap().0);
    }

    fn journal_is_empty(&self) -> bool {
        !self.state.path("journal.json").exists()
    }
}

/// The platform of another process on the same system. The interface went with the process that made it.
fn next_process(system: &FakeSystem) -> Platform {
    system.change(|state| {
        state.interface = None;
        state.routes.clear();
    });
    system.platform()
}

#[test]
fn up_is_firewall_interface_routes_dns_and_back_is_the_reverse() {
    let mut bench = bench();
    bench.applier.claim().unwrap();
    assert_eq!(bench.apply(&connecting(1)).unwrap(), 1);
    assert_eq!(
        bench.system.take_steps(),
        [Step::DnsClaim, Step::FirewallApply, Step::TunEnsure, Step::RoutesApply]
    );
    assert_eq!(bench.apply(&connected(2)).unwrap(), 0);
    assert_eq!(
        bench.system.take_steps(),
        [Step::FirewallApply, Step::TunEnsure, Step::RoutesApply, Step::DnsWrite]
    );
    let state = bench.system.state();
    assert_eq!((state.firewall, state.guarded), (enforced(), vec![network("172.16.0.2/32")]));
    assert_ne!(bench.system.resolv_conf(), bench.former);

    bench.apply(&Plan::disconnected(3)).unwrap();
    assert_eq!(
        bench.system.take_steps(),
        [Step::DnsWrite, Step::RoutesClear, Step::TunRemove, Step::FirewallClear]
    );
    bench.applier.release().unwrap();
    assert!(bench.system.is_clean() && bench.journal_is_empty());
    assert_eq!(bench.system.resolv_conf(), bench.former);
}

/// A connected device that has learnt these addresses of 198.51.100.0/24.
fn learning(number: u64, last: &[u8]) -> Plan {
    let addresses = last.iter().map(|last| IpAddr::from([198, 51, 100, *last])).collect();
    Plan { learnt: LearntPlan { mode: SplitTunnelMode::Exclude, addresses }, ..connected(number) }
}

#[test]
fn learnt_addresses_that_change_alone_change_nothing_else() {
    let mut bench = bench();
    bench.apply(&connected(1)).unwrap();
    let _ = bench.system.take_steps();
    // Not even the journal is written.
    std::fs::remove_dir_all(bench.state.path("")).unwrap();
    for last in [&[7][..], &[7, 8], &[8], &[]] {
        let plan = learning(2, last);
        bench.apply(&plan).unwrap();
        assert_eq!(bench.system.take_steps(), [Step::FirewallApply, Step::RoutesApply], "{last:?}");
        let state = bench.system.state();
        assert_eq!((&state.learnt, &state.learnt_routes), (&plan.learnt, &plan.learnt));
        assert_eq!(state.firewall, enforced());
    }
    StateDir::open(&bench.state.path("")).unwrap();

    // DNS settings that stand are not written again.
    let whole = [Step::FirewallApply, Step::TunEnsure, Step::RoutesApply];
    bench.apply(&learning(3, &[7])).unwrap();
    let _ = bench.system.take_steps();
    bench.apply(&learning(4, &[7])).unwrap();
    assert_eq!(bench.system.take_steps(), whole, "a plan that is asserted again is looked after as a whole");
    // Where a step fails, so is the next.
    bench.system.fail_next(Step::RoutesApply, "no memory");
    bench.apply(&learning(5, &[8])).unwrap_err();
    let _ = bench.system.take_steps();
    bench.apply(&learning(6, &[9])).unwrap();
    assert_eq!(bench.system.take_steps(), whole);
    assert_eq!(bench.system.state().learnt_routes, learning(7, &[9]).learnt);
}

#[test]
fn a_firewall_that_another_program_removed_knows_the_learnt_addresses_again() {
    let mut bench = bench();
    bench.apply(&connected(1)).unwrap();
    bench.apply(&learning(2, &[7])).unwrap();
    bench.system.flush_firewall();
    assert!(bench.applier.close_again().unwrap());
    assert_eq!(bench.system.state().learnt, learning(2, &[7]).learnt);
    // Without an interface there are no routes to be led; what was learnt stays open.
    let blocked = |last| Plan { interface: None, routes: Vec::new(), dns: None, ..learning(3, last) };
    bench.apply(&blocked(&[7])).unwrap();
    let _ = bench.system.take_steps();
    bench.apply(&blocked(&[7, 8])).unwrap();
    assert_eq!(bench.system.take_steps(), [Step::FirewallApply]);
    assert_eq!(bench.system.state().learnt, learning(3, &[7, 8]).learnt);
    bench.applier.recover(&enforced()).unwrap();
    assert!(bench.system.state().learnt.addresses.is_empty());
}

#[test]
fn blocked_keeps_the_firewall_alone() {
    let mut bench = bench();
    bench.apply(&connected(1)).unwrap();
    let _ = bench.system.take_steps();
    bench.apply(&Plan { firewall: enforced(), ..Plan::disconnected(2) }).unwrap();
    assert_eq!(
        bench.system.take_steps(),
        [Step::FirewallApply, Step::DnsWrite, Step::RoutesClear, Step::TunRemove]
    );
    assert_eq!(bench.system.state().firewall, enforced());
    assert_eq!(bench.system.resolv_conf(), bench.former);
}

#[test]
fn a_step_that_fails_on_the_way_up_ends_it_behind_the_firewall() {
    let cases = [
        (Step::FirewallApply, "firewall", vec![Step::FirewallApply]),
        (Step::TunEnsure, "tunnel interface", vec![Step::FirewallApply, Step::TunEnsure]),
        (Step::RoutesApply, "routes", vec![Step::FirewallApply, Step::TunEnsure, Step::RoutesApply]),
        (
            Step::DnsWrite,
            "DNS settings",
            vec![Step::FirewallApply, Step::TunEnsure, Step::RoutesApply, Step::DnsWrite],
        ),
    ];
    for (step, part, steps) in cases {
        let mut bench = bench();
        bench.system.fail_next(step, "the system says no");
        let error = bench.apply(&connected(1)).unwrap_err().to_string();
        assert!(error.starts_with(part) && error.contains("the system says no"), "{error}");
        assert_eq!(bench.system.take_steps(), steps, "{step:?}");
        let closed = bench.system.state().firewall == enforced();
        assert_eq!(closed, step != Step::FirewallApply, "{step:?}");
        assert_eq!(bench.system.resolv_conf(), bench.former, "{step:?}");
        // The same plan, asked for again, comes into force; and all of it goes again.
        bench.apply(&connected(2)).unwrap();
        bench.apply(&Plan::disconnected(3)).unwrap();
        assert!(bench.system.is_clean() && bench.journal_is_empty(), "{step:?}");
        assert_eq!(bench.system.resolv_conf(), bench.former, "{step:?}");
    }
}

#[test]
fn a_step_that_fails_on_the_way_back_keeps_the_firewall_and_undoes_the_rest() {
    for step in [Step::DnsWrite, Step::RoutesClear, Step::TunRemove] {
        let mut bench = bench();
        bench.apply(&connected(1)).unwrap();
        bench.system.fail_next(step, "the system says no");
        let _ = bench.system.take_steps();
        bench.apply(&Plan::disconnected(2)).unwrap_err();
        assert_eq!(
            bench.system.take_steps(),
            [Step::DnsWrite, Step::RoutesClear, Step::TunRemove],
            "{step:?}"
        );
        assert_eq!(bench.system.state().firewall, enforced(), "{step:?}");
        bench.apply(&Plan::disconnected(3)).unwrap();
        assert!(bench.system.is_clean() && bench.journal_is_empty(), "{step:?}");
        assert_eq!(bench.system.resolv_conf(), bench.former, "{step:?}");
    }
}

#[test]
fn nothing_is_changed_that_could_not_be_written_down() {
    let mut bench = bench();
    std::fs::remove_dir(bench.state.path("")).unwrap();
    let error = bench.apply(&connected(1)).unwrap_err().to_string();
    assert!(error.contains("tunnel interface: the undo journal cannot be written"), "{error}");
    assert_eq!(bench.system.take_steps(), [Step::FirewallApply], "the firewall closes all the same");
    StateDir::open(&bench.state.path("")).unwrap();
    bench.apply(&Plan::disconnected(2)).unwrap();
    assert!(bench.system.is_clean());
}

#[test]
fn settings_that_another_program_changed_are_left_and_named() {
    let mut bench = bench();
    bench.apply(&connected(1)).unwrap();
    bench.system.change(|state| {
        let content = b"nameserver 192.0.2.99\n".to_vec();
        state.resolv_conf = weft_platform::Before::File { content, mode: 0o644, uid: 0, gid: 0 };
    });
    let undone = bench.applier.undo();
    let former = bench.state.path("resolv.conf.former");
    assert_eq!(std::fs::read_to_string(&former).unwrap(), bench.former);
    assert!(undone[0].to_string().contains(&former.display().to_string()), "{undone:?}");
    assert_eq!(undone[0], Undone::LeftDns(Some(former)));
    assert_eq!(undone.len(), 4, "{undone:?}");
    assert_eq!(bench.system.resolv_conf(), "nameserver 192.0.2.99\n");
    assert!(bench.system.is_clean() && bench.journal_is_empty());
    assert_eq!(bench.applier.undo(), [], "a second undo finds nothing");
}

#[test]
fn the_record_of_the_former_settings_stays_until_they_are_kept_elsewhere() {
    let mut bench = bench();
    bench.apply(&connected(1)).unwrap();
    bench.system.change(|state| {
        let content = b"nameserver 192.0.2.99\n".to_vec();
        state.resolv_conf = weft_platform::Before::File { content, mode: 0o644, uid: 0, gid: 0 };
    });
    let in_the_way = bench.state.path("resolv.conf.former");
    std::fs::create_dir_all(in_the_way.join("x")).unwrap();
    let undone = bench.applier.undo();
    assert!(matches!(&undone[0], Undone::Failed(why) if why.starts_with("DNS settings")), "{undone:?}");
    assert!(!bench.journal_is_empty());
    std::fs::remove_dir_all(&in_the_way).unwrap();
    assert_eq!(bench.applier.undo(), [Undone::LeftDns(Some(in_the_way.clone()))]);
    assert_eq!(std::fs::read_to_string(in_the_way).unwrap(), bench.former);
}

#[test]
fn a_link_that_cannot_come_back_is_kept_with_where_it_led() {
    let mut bench = bench();
    let link = weft_platform::Before::Symlink {
        target: b"../run/stub.conf".into(),
        content: b"search lan\n".into(),
    };
    bench.system.change(|state| state.resolv_conf = link);
    bench.apply(&connected(1)).unwrap();
    bench.system.change(|state| {
        let content = b"nameserver 192.0.2.99\n".to_vec();
        state.resolv_conf = weft_platform::Before::File { content, mode: 0o644, uid: 0, gid: 0 };
    });
    bench.applier.undo();
    let kept = std::fs::read_to_string(bench.state.path("resolv.conf.former")).unwrap();
    assert_eq!(kept, "# a symbolic link to ../run/stub.conf, which held:\nsearch lan\n");
}

#[test]
fn an_undo_goes_on_after_a_failure_and_can_be_run_again() {
    let mut bench = bench();
    bench.apply(&connected(1)).unwrap();
    bench.system.fail_next(Step::DnsWrite, "read-only");
    let undone = bench.applier.undo();
    assert!(matches!(&undone[0], Undone::Failed(why) if why.contains("read-only")), "{undone:?}");
    assert_eq!(bench.system.state().firewall, FirewallPlan::Open);
    assert!(!bench.journal_is_empty());
    assert_eq!(bench.applier.undo(), [Undone::Restored("DNS settings")]);
    assert!(bench.system.is_clean() && bench.journal_is_empty());
    assert_eq!(bench.system.resolv_conf(), bench.former);
}

/// A device's whole life: connecting, connected, learning addresses, disconnected.
fn life(applier: &mut Applier) {
    let mut attach = drop;
    applier.claim().unwrap();
    for plan in [connecting(1), connected(2), learning(3, &[7, 8]), learning(4, &[8]), Plan::disconnected(5)]
    {
        applier.apply(&plan, &mut attach).unwrap();
    }
    applier.release().unwrap();
}

/// Lives until killed at `moment`; says whether it was.
fn killed_at(bench: &mut Bench, moment: usize) -> bool {
    let platform = Doom::at(moment).platform(next_process(&bench.system));
    bench.reborn(platform);
    let result = catch_unwind(AssertUnwindSafe(|| life(&mut bench.applier)));
    match result {
        Ok(()) => false,
        Err(panic) if panic.is::<Killed>() => true,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Checks `check` after a death at every moment of a life. Returns how many moments there were.
fn at_every_death(check: impl Fn(&mut Bench, usize)) -> usize {
    for moment in 0.. {
        let mut bench = bench();
        if !killed_at(&mut bench, moment) {
            return moment;
        }
        let platform = next_process(&bench.system);
        bench.reborn(platform);
        let _ = bench.system.take_steps();
        check(&mut bench, moment);
    }
    unreachable!("a life has an end")
}

#[test]
fn after_a_crash_at_any_moment_an_undo_leaves_nothing() {
    let moments = at_every_death(|bench, moment| {
        let undone = bench.applier.undo();
        assert!(!undone.iter().any(|one| matches!(one, Undone::Failed(_))), "{moment}: {undone:?}");
        assert!(bench.system.is_clean() && bench.journal_is_empty(), "{moment}: {:?}", bench.system);
        assert_eq!(bench.system.resolv_conf(), bench.former, "{moment}");
        assert_eq!(bench.system.take_steps().last(), Some(&Step::FirewallClear), "{moment}");
        assert_eq!(bench.applier.undo(), [], "{moment}");
    });
    // Two moments a step: 1 + 3 + 4 + 2 + 2 + 4 + 1 steps.
    assert_eq!(moments, 34);
}

#[test]
fn after_a_crash_at_any_moment_a_start_blocks_before_it_undoes() {
    at_every_death(|bench, moment| {
        bench.applier.recover(&enforced()).unwrap();
        let steps = bench.system.take_steps();
        assert_eq!(steps.first(), Some(&Step::FirewallApply), "{moment}");
        assert!(!steps.contains(&Step::FirewallClear), "{moment}: {steps:?}");
        assert_eq!(bench.system.state().firewall, enforced(), "{moment}");
        assert_eq!(bench.system.resolv_conf(), bench.former, "{moment}");
        assert!(!bench.system.state().claimed, "{moment}");
        // And on to the target, and away again.
        life(&mut bench.applier);
        assert!(bench.system.is_clean() && bench.journal_is_empty(), "{moment}");
        assert_eq!(bench.system.resolv_conf(), bench.former, "{moment}");
    });
}

#[test]
fn a_crash_during_the_undo_is_undone_by_the_next() {
    for moment in 0.. {
        let mut bench = bench();
        bench.applier.claim().unwrap();
        bench.apply(&connected(1)).unwrap();
        let platform = Doom::at(moment).platform(next_process(&bench.system));
        bench.reborn(platform);
        if catch_unwind(AssertUnwindSafe(|| bench.applier.undo())).is_ok() {
            assert_eq!(moment, 10);
            return;
        }
        let platform = next_process(&bench.system);
        bench.reborn(platform);
        bench.applier.undo();
        assert!(bench.system.is_clean() && bench.journal_is_empty(), "{moment}");
        assert_eq!(bench.system.resolv_conf(), bench.former, "{moment}");
    }
}

#[test]
fn a_firewall_that_cannot_be_closed_stops_the_start() {
    let mut bench = bench();
    bench.apply(&connected(1)).unwrap();
    bench.system.fail_next(Step::FirewallApply, "no nftables");
    let _ = bench.system.take_steps();
    assert!(bench.applier.recover(&enforced()).is_err());
    assert_eq!(bench.system.take_steps(), [Step::FirewallApply]);
    assert_eq!(bench.system.state().firewall, enforced(), "the former one stands");
}
