//! The system's random numbers.

use weft_dns::Entropy;

/// Random numbers of the system, fetched for many ids at once.
pub(super) struct SystemIds {
    bytes: [u8; 256],
    used: usize,
}

impl Default for SystemIds {
    fn default() -> Self {
        Self { bytes: [0; 256], used: 256 }
    }
}

impl Entropy for SystemIds {
    /// # Panics
    /// Where the system has no random numbers to give: an id that can be guessed invites forged answers.
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == self.bytes.len() {
                #[expect(clippy::expect_used, reason = "an id that can be guessed must never be used")]
                getrandom::fill(&mut self.bytes).expect("the system gives random numbers");
                self.used = 0;
            }
            *byte = self.bytes.get(self.used).copied().unwrap_or_default();
            self.used += 1;
        }
    }
}
