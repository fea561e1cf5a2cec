//! The program as a service manager sees it: its words, its exit codes, its unit, and how it is installed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn weftd(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weftd")).args(words).output().unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(repository().join("packaging/systemd").join(name)).unwrap()
}

/// Runs packaging/install.sh with a folder in place of the running system.
fn install(word: &str, built: &Path, root: &Path, purge: &str) -> Output {
    Command::new("bash")
        .arg(repository().join("packaging/install.sh"))
        .arg(word)
        .env("CARGO_TARGET_DIR", built)
        .env("DESTDIR", root)
        .env("PREFIX", "/opt/weft")
        .env("PURGE", purge)
        .output()
        .unwrap()
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files.iter().map(|file| Path::new("/").join(file.strip_prefix(root).unwrap())).collect()
}

#[test]
fn the_help_lists_every_exit_code() {
    let help = String::from_utf8(weftd(&["--help"]).stdout).unwrap();
    for code in [
        "0  ended",
        "1  failed",
        "2  the command line",
        "3  something is missing",
        "4  another weftd",
        "5  as 3",
        "6  with --undo",
    ] {
        assert!(help.contains(&format!("\n  {code}")), "{code}: {help}");
    }
}

#[test]
fn a_wrong_command_line_is_refused() {
    let cases: [&[&str]; 4] =
        [&["--fly"], &["--undo", "--check"], &["--unless-crashed"], &["--foreground", "--undo"]];
    for words in cases {
        assert_eq!(weftd(words).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn a_second_daemon_and_an_undo_beside_a_daemon_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lock = std::fs::File::create(folder.path().join("weftd.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let run_dir = folder.path().to_str().unwrap();
    let state_dir = folder.path().join("state");
    for mode in ["--foreground", "--undo"] {
        let ended = weftd(&[mode, "--run-dir", run_dir, "--state-dir", state_dir.to_str().unwrap()]);
        assert_eq!(ended.status.code(), Some(4), "{mode}: {ended:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.lines().count() == 1 && said.contains("another weftd is running"), "{mode}: {said}");
    }
    assert!(!state_dir.exists(), "nothing was touched");
}

#[test]
fn what_stays_after_a_crash_is_left_to_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (run_dir, state_dir) = (folder.path().join("run"), folder.path().join("state"));
    std::fs::create_dir(&state_dir).unwrap();
    std::fs::write(state_dir.join("target.json"), r#"{"connected":true,"locked":false}"#).unwrap();
    std::fs::write(state_dir.join("journal.json"), r#"{"firewall":true}"#).unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_weftd"))
        .args(["--undo", "--unless-crashed", "--run-dir"])
        .arg(&run_dir)
        .arg("--state-dir")
        .arg(&state_dir)
        .env("SERVICE_RESULT", "signal")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(String::from_utf8(ended.stdout).unwrap().contains("stay blocked"));
    assert!(state_dir.join("journal.json").exists());
}

#[test]
fn the_unit_calls_the_program_as_it_is() {
    let text = unit("weftd.service");
    let commands = text.lines().filter_map(|line| {
        let (key, command) = line.split_once('=')?;
        key.starts_with("Exec").then_some(command)
    });
    let mut count = 0;
    for command in commands {
        let words = command.strip_prefix("@BIN@/weftd").unwrap().split_whitespace().chain(["--help"]);
        let ended = weftd(&words.collect::<Vec<_>>());
        assert_eq!(ended.status.code(), Some(0), "{command}: {ended:?}");
        count += 1;
    }
    assert_eq!(count, 2);
    assert!(text.contains("Type=notify") && text.contains("RestartPreventExitStatus=2 3 4"));
    // A device that is blocked is tried again for ever.
    assert!(text.contains("\nRestart=on-failure\n") && text.contains("\nStartLimitIntervalSec=0\n"));
    // Before the network, and so outside the order that services have by default: what cloud-init does for the network
    // is before sysinit.target, and after network-pre.target.
    for line in [
        "DefaultDependencies=no",
        "Conflicts=shutdown.target",
        "Before=network-pre.target shutdown.target",
        "After=local-fs.target systemd-sysusers.service systemd-tmpfiles-setup.service nftables.service",
        "RequiresMountsFor=/var/lib/weft",
    ] {
        assert!(text.lines().any(|present| present == line), "{line}");
    }
    // What the programs use by themselves is where the unit lets them write.
    assert!(text.contains("StateDirectory=weft\n") && text.contains("RuntimeDirectory=weft\n"));
    assert!(weft_ipc::DEFAULT_SOCKET.starts_with("/run/weft/"));
}

#[test]
fn what_is_installed_is_removed_again() {
    let folder = tempfile::tempdir().unwrap();
    let (built, root) = (folder.path().join("target"), folder.path().join("root"));
    let refused = install("install", &built, &root, "");
    assert!(!refused.status.success());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("make build"));
    assert!(!root.exists());

    std::fs::create_dir_all(built.join("release")).unwrap();
    for program in ["weft", "weftd", "weft-gateway"] {
        let path = built.join("release").join(program);
        std::fs::write(&path, "#!/bin/sh\necho \"$@\"\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let installed = install("install", &built, &root, "");
    assert!(installed.status.success(), "{installed:?}");
    let expected = [
        "bin/weft",
        "bin/weft-gateway",
        "bin/weftd",
        "lib/systemd/system/weft-gateway.service",
        "lib/systemd/system/weftd.service",
        "lib/sysusers.d/weft.conf",
        "share/bash-completion/completions/weft",
        "share/fish/vendor_completions.d/weft.fish",
        "share/zsh/site-functions/_weft",
    ];
    assert_eq!(files_below(&root), expected.map(|path| Path::new("/opt/weft").join(path)));
    let text = std::fs::read_to_string(root.join("opt/weft/lib/systemd/system/weftd.service")).unwrap();
    assert!(text.contains("ExecStart=/opt/weft/bin/weftd\n") && !text.contains("@BIN@"), "{text}");

    let state = root.join("var/lib/weft");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("reg.json"), "{}").unwrap();
    assert!(install("uninstall", &built, &root, "").status.success());
    assert_eq!(files_below(&root), [Path::new("/var/lib/weft/reg.json")]);
    assert!(install("uninstall", &built, &root, "1").status.success());
    assert!(files_below(&root).is_empty());
}

/// Uninstalls on a machine of its own, whose weftd ends with this code when it is to undo everything. Says how that
/// ended, and whether the program is still there.
fn uninstall_beside(host: &netlab::Host, code: u8, force: &str) -> (Output, bool) {
    let weftd = "/run/weft/bin/weftd";
    host.write_file(weftd, format!("#!/bin/sh\necho \"$@\"\nexit {code}\n")).unwrap();
    host.run(["chmod", "+x", weftd]).unwrap();
    let mut command = host.command("bash");
    command.arg(repository().join("packaging/install.sh")).arg("uninstall");
    command.env("PREFIX", "/run/weft").env("DESTDIR", "").env("PURGE", "").env("FORCE", force);
    let output = host.inside(|| command.output()).unwrap().unwrap();
    (output, host.read_file(weftd).is_ok())
}

#[test]
fn what_is_not_undone_is_not_uninstalled() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        for (code, force, is_removed) in
            [(0, "", true), (1, "", false), (1, "1", false), (6, "", false), (6, "1", true)]
        {
            let (output, is_there) = uninstall_beside(&host, code, force);
            assert_eq!(
                (output.status.success(), is_there),
                (is_removed, !is_removed),
                "{code} {force}: {output:?}"
            );
            assert!(output.stdout.starts_with(b"--undo\n"), "{output:?}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(said.contains("FORCE=1"), (code, force) == (6, ""), "{said}");
        }
        Ok(())
    });
}
