//! wg-quick files that the device refuses.

use anyhow::Result;
use weft_e2e::{Device, Setup};

use crate::{Standing, assert_carries, assert_refused, shown};

const PATH: &str = "/run/office.conf";

/// A file that can be carried out; what is bad is made of it.
const GOOD: &str = "[Interface]
PrivateKey = qMqVhGHXsIbIuC1fvCkD4oVTZlgI1D8ZVmKjNDUTM2o=
Address = 10.99.0.2/32
[Peer]
PublicKey = FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=
AllowedIPs = 0.0.0.0/0
Endpoint = 203.0.113.10:51820
";

/// Malformed files, and what their refusal names.
fn malformed() -> Vec<(Vec<u8>, &'static str)> {
    let with = |line: &str| GOOD.replacen("[Peer]", &format!("{line}\n[Peer]"), 1);
    let instead = |old: &str, new: &str| GOOD.replacen(old, new, 1);
    let texts = [
        (String::new(), "no [Interface] section"),
        (with("PostUp = touch /run/weft/touched"), "PostUp is not supported"),
        (with("PreDown = true"), "PreDown is not supported"),
        (with("Table = off"), "Table is not supported"),
        (with("FwMark = 0x100cf"), "FwMark is not supported"),
        (with("SaveConfig = true"), "SaveConfig is not supported"),
        (with("Jc = 4"), "unknown key Jc"),
        (with("MTU = 100"), "MTU must be"),
        (with("DNS = 10.0.0.1,,"), "DNS must be"),
        (with("gibberish"), "line 4: this is neither"),
        (format!("{GOOD}{}", &GOOD[GOOD.find("[Peer]").unwrap()..]), "a second [Peer]"),
        (instead("[Peer]", "[Pear]"), "the sections are"),
        (instead("qMqVhGHX", "qMqV"), "PrivateKey must be"),
        (instead("FpCyhws9", "FpCy!ws9"), "PublicKey must be"),
        (instead("PublicKey", "PresharedKey"), "PublicKey is missing"),
        (instead("10.99.0.2/32", "10.99.0.2/33"), "Address must be"),
        (instead("0.0.0.0/0", "0.0.0.0/0, 10.0.0.0/99"), "AllowedIPs must be"),
        (instead(":51820", ":0"), "Endpoint must be"),
        (instead("203.0.113.10:51820", "no-such-name.invalid:51820"), "no-such-name.invalid"),
    ];
    let mut cases: Vec<_> = texts.into_iter().map(|(text, named)| (text.into_bytes(), named)).collect();
    cases.push((b"[Interface]\nPrivateKey = \xff\xfe\n".to_vec(), "UTF-8"));
    cases.push((format!("{GOOD}#{}\n", "x".repeat(64 * 1024)).into_bytes(), "larger than 64 KiB"));
    cases.push((format!("{GOOD}#{}\n", "x".repeat(1 << 20)).into_bytes(), "larger than"));
    cases
}

fn import(device: &Device, path: &str) -> Result<netlab::Output> {
    device.attempt(&["registration", "import", path])
}

#[test]
fn a_malformed_wg_quick_file_is_refused_and_the_device_stays_unregistered() {
    netlab::run(|lab| {
        let setup = Setup::new(lab, "{}")?;
        let device = &setup.device;
        let standing = Standing::of(device)?;
        assert!(standing.registration.contains("not registered"), "{standing:?}");
        for (text, named) in malformed() {
            println!("{}", shown(&text));
            device.host().write_file(PATH, &text)?;
            let output = import(device, PATH)?;
            assert_refused(&output, 1, named);
            assert!(!output.stderr.contains("qMqV") && !output.stderr.contains("FpCy"), "{output:?}");
            assert_eq!(Standing::of(device)?, standing);
        }
        assert_refused(&import(device, "/run/none.conf")?, 1, "/run/none.conf");
        assert_refused(&import(device, "/run")?, 1, "/run");
        device.host().write_file(PATH, GOOD)?;
        let unnamed = device.attempt(&["registration", "import", PATH, "--name", "two\nlines"])?;
        assert_refused(&unnamed, 1, "control characters");
        assert_eq!(Standing::of(device)?, standing);
        assert!(!device.host().attempt(["test", "-e", "/run/weft/touched"])?.status.success());
        // It was not the rest of the file that was refused all the time.
        import(device, PATH)?.success()?;
        assert_ne!(Standing::of(device)?, standing);
        Ok(())
    });
}

#[test]
fn a_registered_device_refuses_every_file_and_stays_connected() {
    netlab::run(|lab| {
        let setup = Setup::connected(lab, "{}")?;
        let standing = Standing::of(&setup.device)?;
        for (text, _) in malformed().into_iter().chain([(GOOD.as_bytes().to_vec(), "")]) {
            setup.device.host().write_file(PATH, &text)?;
            let output = import(&setup.device, PATH)?;
            // Text that cannot be sent at all is refused before the daemon is asked.
            let named = match (std::str::from_utf8(&text), text.len() > 256 * 1024) {
                (Err(_), _) => "UTF-8",
                (_, true) => "larger than",
                _ => "registered already",
            };
            assert_refused(&output, 1, named);
        }
        assert_eq!(Standing::of(&setup.device)?, standing);
        assert_carries(&setup)
    });
}
