//! Bytes of a container as text that every client can read.

/// The bytes as text: what is no UTF-8 becomes U+FFFD, NUL is left out, and the rest of a character whose beginning was
/// cut off too.
pub fn printable(bytes: Vec<u8>) -> String {
    let cut = bytes.iter().take(3).take_while(|byte| is_continuation(**byte)).count();
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(&error.as_bytes()[cut..]).into_owned(),
    };
    text.retain(|c| c != '\0');
    text
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// Turns pieces of a log into text, also when a character is split between them.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a character, at most three bytes.
    begun: Vec<u8>,
}

impl Decoder {
    /// The text of the next piece, without a character that may go on in the one after it.
    pub fn push(&mut self, piece: Vec<u8>) -> String {
        let mut bytes = std::mem::take(&mut self.begun);
        match bytes.is_empty() {
            true => bytes = piece,
            false => bytes.extend_from_slice(&piece),
        }
        let rest = unfinished(&bytes);
        self.begun = bytes.split_off(bytes.len() - rest);
        let mut text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        text.retain(|c| c != '\0');
        text
    }

    /// Bytes that wait for the rest of their character.
    pub fn waiting(&self) -> usize {
        self.begun.len()
    }

    /// Forgets a character that will not go on; what stands for it.
    pub fn give_up(&mut self) -> Option<&'static str> {
        (!std::mem::take(&mut self.begun).is_empty()).then_some("\u{fffd}")
    }
}

/// How many bytes at the end are the beginning of a character that is not complete.
fn unfinished(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    (from..bytes.len())
        .find(|at| {
            let rest = &bytes[*at..];
            std::str::from_utf8(rest)
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .map_or(0, |at| bytes.len() - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_becomes_text() {
        assert_eq!(printable(b"plain\n".to_vec()), "plain\n");
        assert_eq!(printable(b"a\0b\xff\xfec\n".to_vec()), "ab\u{fffd}\u{fffd}c\n");
        assert_eq!(printable("ä".as_bytes()[1..].iter().chain(b"x").copied().collect()), "x");
        assert_eq!(printable(Vec::new()), "");
    }

    #[test]
    fn characters_survive_every_cut() {
        let text = "aä€😀z\n";
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let bytes = text.as_bytes();
                let mut decoder = Decoder::default();
                let pieces = [&bytes[..cut], &bytes[cut..second], &bytes[second..]];
                let read: String = pieces.iter().map(|piece| decoder.push(piece.to_vec())).collect();
                assert_eq!((read.as_str(), decoder.waiting()), (text, 0), "cut at {cut} and {second}");
            }
        }
    }

    #[test]
    fn what_is_no_character_does_not_wait() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"\xff\xff\xff".to_vec()), "\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(decoder.push(b"x\xe2\x82".to_vec()), "x");
        assert_eq!(decoder.waiting(), 2);
        assert_eq!(decoder.give_up(), Some("\u{fffd}"));
        assert_eq!(decoder.give_up(), None);
    }
}
