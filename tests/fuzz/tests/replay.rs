//! Replays every corpus, and a bounded number of seeded mutations of each file. The mutations of a file are the same
//! in every run, so that what fails once fails again.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails here")]

#[path = "replay/mutate.rs"]
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mutate::{Chance, mutate};
use weft_fuzz::{Outcome, TARGETS, Target};

/// Mutations of one file.
const MUTATIONS: u64 = 400;
/// The longest mutation, in bytes.
const LONGEST: usize = 4096;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a target's corpus, sorted by name.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let directory = root().join("corpus").join(target.name);
    let entries =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Runs the target; a panic names what was run.
fn run(target: &Target, what: &str, bytes: &[u8]) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).unwrap_or_else(|_| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{} broke on {what}: {hex}", target.name)
    })
}

#[test]
fn every_seed_is_taken_or_refused_as_its_name_says() {
    for target in TARGETS {
        let (mut taken, mut refused) = (0, 0);
        for (name, bytes) in corpus(target) {
            let outcome = run(target, &name, &bytes);
            if name.starts_with("ok-") {
                taken += 1;
                assert_eq!(outcome, Outcome::Taken, "{}/{name}", target.name);
            } else if name.starts_with("bad-") {
                refused += 1;
                assert_eq!(outcome, Outcome::Refused, "{}/{name}", target.name);
            }
        }
        assert!(taken > 0 && refused > 0, "{} has seeds of both kinds", target.name);
    }
}

#[test]
fn no_mutation_of_a_seed_breaks_a_promise() {
    for target in TARGETS {
        let files = corpus(target);
        for (name, bytes) in &files {
            let mut chance = Chance::of(name.as_bytes());
            for number in 0..MUTATIONS {
                let other = &files[chance.below(files.len())].1;
                let mut mutated = mutate(bytes, other, &mut chance);
                mutated.truncate(LONGEST.max(bytes.len()));
                run(target, &format!("mutation {number} of {name}"), &mutated);
            }
        }
    }
}

#[test]
fn every_target_has_its_libfuzzer_program() {
    let programs = root().join("libfuzzer");
    let manifest = std::fs::read_to_string(programs.join("Cargo.toml")).unwrap();
    let files = |directory: &Path| std::fs::read_dir(directory).unwrap().count();
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{} in Cargo.toml", target.name);
        let source = programs.join("fuzz_targets").join(format!("{}.rs", target.name));
        let text = std::fs::read_to_string(&source).unwrap_or_default();
        assert!(text.contains(&format!("weft_fuzz::{}(", target.name)), "{}", source.display());
    }
    assert_eq!(files(&programs.join("fuzz_targets")), TARGETS.len());
    assert_eq!(files(&root().join("corpus")), TARGETS.len());
}

#[test]
fn mutations_repeat_and_differ() {
    let seed = b"the same bytes each time".as_slice();
    let many = || {
        let mut chance = Chance::of(b"name");
        (0..50).map(|_| mutate(seed, b"another", &mut chance)).collect::<Vec<_>>()
    };
    assert_eq!(many(), many());
    assert!(many().iter().filter(|mutated| mutated.as_slice() != seed).count() > 40);
}
