//! What the person at the terminal sees: one line per step, with the seconds since the command began.

use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Starts the clock that every line shows.
pub fn start_clock() {
    START.get_or_init(Instant::now);
}

/// Seconds since the command began.
pub fn elapsed() -> f64 {
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// One line of progress: the part it is about and what is being done or waited for.
pub fn say(part: &str, text: impl AsRef<str>) {
    eprintln!("[{:6.1}s] {part}: {}", elapsed(), text.as_ref());
}
