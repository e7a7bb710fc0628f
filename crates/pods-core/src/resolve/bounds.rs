//! How much a start may put in, and how much its refusal may say.

use super::Unavailable;
use crate::limits::{PROBLEMS_MAX, RESOLVED_BYTES_MAX};

/// The bytes that may still be put in. References multiply: a definition of one MiB could ask for many GiB, so what
/// does not fit is not built at all.
pub(super) struct Budget {
    left: usize,
    /// Of what, for the user.
    what: &'static str,
}

impl Budget {
    pub(super) fn new(what: &'static str) -> Self {
        Self { left: RESOLVED_BYTES_MAX, what }
    }

    pub(super) fn push(&mut self, target: &mut String, text: &str) -> Result<(), Unavailable> {
        self.left = self.left.checked_sub(text.len()).ok_or_else(|| Unavailable::too_large(self.what))?;
        target.push_str(text);
        Ok(())
    }
}

/// What is missing, each thing once, as much of it as a message holds.
#[derive(Default)]
pub(super) struct Problems {
    listed: Vec<String>,
    more: bool,
}

impl Problems {
    pub(super) fn push(&mut self, problem: String) {
        if self.listed.len() == PROBLEMS_MAX {
            self.more = true;
        } else if !self.listed.contains(&problem) {
            self.listed.push(problem);
        }
    }

    pub(super) fn check(mut self) -> Result<(), Unavailable> {
        if self.more {
            self.listed.push("There are more problems like these".to_owned());
        }
        match self.listed.is_empty() {
            true => Ok(()),
            false => Err(Unavailable::secret(self.listed.join(". "))),
        }
    }
}
