//! The first line after a jump to the end of a log.

use pods_kube::logs::LogLine;

/// Keeps back the rest of a line whose beginning was jumped over.
///
/// Runtimes begin another file when one is large, also in the middle of a line, and kubelets read the newest file only:
/// its first line may be the rest of one. Which it is cannot be told, so it is kept only when nothing comes after it.
#[derive(Debug, Default)]
pub struct Seam {
    expects_first: bool,
    held: Option<LogLine>,
}

impl Seam {
    /// For a stream that begins where the last one ended, or behind a jump.
    pub fn new(jumped: bool) -> Self {
        Self { expects_first: jumped, held: None }
    }

    /// The stream reaches back to what is known: there was no jump.
    pub fn close(&mut self) {
        *self = Self::default();
    }

    /// The next line of the stream; answers what is to be stored of it now.
    pub fn pass(&mut self, line: LogLine) -> Option<LogLine> {
        if std::mem::take(&mut self.expects_first) {
            self.held = Some(line);
            return None;
        }
        if self.held.is_none() {
            return Some(line);
        }
        // A further piece of the same line has no beginning either.
        if line.begins {
            self.held = None;
            return Some(line);
        }
        None
    }

    /// Whether a line is kept back.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Nothing comes after what is kept back, for now or ever: it is to be stored.
    pub fn give_up(&mut self) -> Option<LogLine> {
        self.held.take()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn line(text: &str, begins: bool) -> LogLine {
        LogLine { at: DateTime::from_timestamp(1, 0).unwrap(), bytes: text.as_bytes().to_vec(), begins }
    }

    /// What is stored of a stream.
    fn stored(seam: &mut Seam, lines: &[LogLine]) -> String {
        let mut kept: Vec<LogLine> = lines.iter().filter_map(|line| seam.pass(line.clone())).collect();
        kept.extend(seam.give_up());
        kept.into_iter().map(|line| String::from_utf8(line.bytes).unwrap()).collect()
    }

    #[test]
    fn the_first_line_after_a_jump_may_be_the_rest_of_one() {
        let lines = [line("st\n", true), line("second\n", true), line("third\n", true)];
        assert_eq!(stored(&mut Seam::new(true), &lines), "second\nthird\n");
        assert_eq!(stored(&mut Seam::new(false), &lines), "st\nsecond\nthird\n");
        let long = [line("long ", true), line("line\n", false), line("next\n", true)];
        assert_eq!(stored(&mut Seam::new(true), &long), "next\n");
        assert_eq!(stored(&mut Seam::new(false), &long), "long line\nnext\n");
    }

    #[test]
    fn the_only_line_is_kept_and_so_is_what_comes_later() {
        let mut seam = Seam::new(true);
        assert_eq!(seam.pass(line("the end\n", true)), None);
        assert!(seam.holds());
        assert_eq!(seam.give_up().unwrap().bytes, b"the end\n");
        assert!(!seam.holds() && seam.give_up().is_none());
        assert_eq!(seam.pass(line("more\n", true)).unwrap().bytes, b"more\n");
    }

    #[test]
    fn a_stream_that_reaches_back_has_no_seam() {
        let mut seam = Seam::new(true);
        seam.close();
        assert_eq!(stored(&mut seam, &[line("new\n", true)]), "new\n");
    }
}
