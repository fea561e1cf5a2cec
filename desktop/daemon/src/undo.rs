//! `weftd --undo`: puts the device back as it was, without a session.

use std::path::Path;

use anyhow::Context as _;
use weft_platform::Platform;

use crate::applier::{Applier, Undone, keeper};
use crate::fatal::Fatal;
use crate::journal::Journal;
use crate::keeper::Keeper;
use crate::state::StateDir;

/// How the service ended, as the service manager has it in SERVICE_RESULT: a crash, or not.
pub(crate) fn is_crash(service_result: Option<&str>) -> bool {
    service_result.is_some_and(|result| result != "success")
}

/// Undoes everything. Returns a line for each thing that was put back, or left.
///
/// # Errors
/// [`Fatal::Left`] where something is still there, [`Fatal::Owed`] where that is DNS settings alone, of programs that
/// do not run; the lines have gone to `say`.
pub(crate) fn undo(state_dir: &Path, platform: Platform, say: &mut dyn FnMut(&str)) -> Result<(), Fatal> {
    let state = StateDir::open(state_dir).with_context(|| format!("{}", state_dir.display()))?;
    let (journal, trouble) = Journal::open(&state).context("the undo journal cannot be read")?;
    if let Some(trouble) = trouble {
        say(&format!("{trouble}: look after the DNS settings yourself"));
    }
    let undone = Applier::new(platform, journal).undo();
    undone.iter().for_each(|one| say(&one.to_string()));
    if undone.is_empty() {
        say("nothing to undo");
    }
    if undone.iter().any(|one| matches!(one, Undone::Failed(_))) {
        return Err(Fatal::Left);
    }
    let owed = undone.iter().find_map(|one| match one {
        Undone::Owed(mode) => Some(keeper(*mode)),
        _ => None,
    });
    owed.map_or(Ok(()), |keeper| Err(Fatal::Owed { keeper }))
}

/// Whether the device is to be connected, so that a crash leaves it blocked for the next start.
///
/// # Errors
/// The folder of state cannot be opened.
pub(crate) fn shall_be_connected(state_dir: &Path) -> Result<bool, Fatal> {
    let state = StateDir::open(state_dir).with_context(|| format!("{}", state_dir.display()))?;
    Ok(Keeper::open(state).1.decide().connect)
}

#[cfg(test)]
mod tests {
    use weft_model::DnsMode;
    use weft_platform::fake::{self, Step};

    use super::*;
    use crate::target::Target;
    use crate::testing::connected;

    #[test]
    fn an_undo_needs_no_daemon_and_says_what_it_did() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let (platform, system) = fake::platform();
        let former = system.resolv_conf();
        let mut applier = Applier::new(platform, Journal::open(&state).unwrap().0);
        applier.apply(&connected(1), &mut drop).unwrap();
        drop(applier);

        let mut lines = Vec::new();
        undo(folder.path(), system.platform(), &mut |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(
            lines,
            [
                "DNS settings: as before",
                "routes: as before",
                "tunnel interface: as before",
                "firewall: as before"
            ]
        );
        assert!(system.is_clean());
        assert_eq!(system.resolv_conf(), former);
        lines.clear();
        undo(folder.path(), system.platform(), &mut |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["nothing to undo"]);
    }

    #[test]
    fn what_is_left_is_named_and_ends_with_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let (platform, system) = fake::platform();
        std::fs::write(folder.path().join("journal.json"), "damaged").unwrap();
        system.fail_next(Step::FirewallClear, "no");
        let mut lines = Vec::new();
        let result = undo(folder.path(), platform, &mut |line| lines.push(line.to_owned()));
        assert_eq!(result.unwrap_err().code(), 1);
        assert!(
            lines[0].contains("journal.json.bad") && lines[1].starts_with("not undone: firewall"),
            "{lines:?}"
        );
    }

    #[test]
    fn settings_of_a_program_that_is_away_fail_the_undo_until_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let (platform, system) = fake::platform();
        system.change_dns_keeper(|keeper| keeper.mode = DnsMode::NetworkManager);
        let mut applier = Applier::new(platform, Journal::open(&state).unwrap().0);
        applier.apply(&connected(1), &mut drop).unwrap();
        drop(applier);
        system.change_dns_keeper(|keeper| keeper.is_away = true);
        for _ in 0..2 {
            let mut lines = Vec::new();
            let say = &mut |line: &str| lines.push(line.to_owned());
            let fatal = undo(folder.path(), system.platform(), say).unwrap_err();
            assert_eq!(lines[0], "DNS settings: to be put back once NetworkManager runs");
            let text = fatal.to_string();
            assert_eq!(fatal.code(), 6, "{text}");
            assert!(text.contains("start NetworkManager") && text.contains("weftd --undo"), "{text}");
        }
        assert!(!system.is_clean());
        // What cannot be undone at all comes first.
        system.fail_next(Step::FirewallClear, "no");
        assert_eq!(undo(folder.path(), system.platform(), &mut |_| ()).unwrap_err().code(), 1);
        system.change_dns_keeper(|keeper| keeper.is_away = false);
        undo(folder.path(), system.platform(), &mut |_| ()).unwrap();
        assert!(system.is_clean());
    }

    #[test]
    fn only_a_crash_of_a_connected_daemon_is_left_to_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!shall_be_connected(folder.path()).unwrap());
        let state = StateDir::open(folder.path()).unwrap();
        let keeper = Keeper::open(state).0;
        keeper.write_target(&Target { connected: true, locked: false }).unwrap();
        assert!(shall_be_connected(folder.path()).unwrap());
        let results =
            [(None, false), (Some("success"), false), (Some("signal"), true), (Some("exit-code"), true)];
        for (result, crash) in results {
            assert_eq!(is_crash(result), crash, "{result:?}");
        }
    }
}
