//! The program on a real system: what it blocks stays blocked.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use netlab::Host;

const PATIENCE: Duration = Duration::from_secs(20);

fn wait_for_the_table(host: &Host, daemon: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !host.attempt(["nft", "list", "table", "inet", "weft"]).unwrap().status.success() {
        assert!(Instant::now() < deadline, "no table: {daemon}");
        std::thread::yield_now();
    }
}

#[test]
fn a_flushed_ruleset_is_not_the_end_of_the_block() {
    netlab::run(|lab| {
        let host = lab.host("device").build()?;
        let folder = tempfile::tempdir()?;
        let (run_dir, state_dir) = (folder.path().join("run"), folder.path().join("state"));
        std::fs::create_dir(&state_dir)?;
        std::fs::write(state_dir.join("target.json"), r#"{"connected":true,"locked":false}"#)?;
        let mut command = host.command(env!("CARGO_BIN_EXE_weftd"));
        command.arg("--run-dir").arg(&run_dir).arg("--state-dir").arg(&state_dir);
        let _daemon = host.spawn(command)?;
        wait_for_the_table(&host, "at the start");
        for _ in 0..3 {
            host.run(["nft", "flush", "ruleset"])?;
            wait_for_the_table(&host, "after a flush");
        }
        Ok(())
    });
}
