//! The routing document as it is sent: compressed once, in the pieces that it changes in.
//!
//! Each piece is compressed alone and ends at a byte, so that the pieces one after the other are one stream, and a change
//! costs the pieces that it touches. Traefik asks for gzip by itself.

use std::{collections::HashMap, sync::Arc};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::Piece;

/// gzip without a name and a time (RFC 1952).
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The last block of a deflate stream, empty.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// Compresses documents and remembers the pieces of the last one.
#[derive(Default)]
pub struct Packer {
    known: HashMap<usize, Packed>,
    compress: Option<Compress>,
}

/// A piece and its part of a deflate stream.
struct Packed {
    #[expect(dead_code, reason = "keeps the address that it is known by from being used again")]
    piece: Piece,
    deflated: Vec<u8>,
    crc: Crc,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("pieces", &self.known.len()).finish_non_exhaustive()
    }
}

impl Packer {
    /// The document as gzip.
    ///
    /// # Errors
    /// When the compressor fails, which no input causes.
    pub fn pack(&mut self, pieces: &[Piece]) -> Result<Vec<u8>, String> {
        let compress = self.compress.get_or_insert_with(|| Compress::new(Compression::fast(), false));
        let mut known = HashMap::with_capacity(pieces.len());
        let mut text = Vec::new();
        let mut crc = Crc::new();
        text.extend_from_slice(&HEAD);
        for piece in pieces {
            let address = Arc::as_ptr(piece).cast::<u8>() as usize;
            let packed = match self.known.remove(&address) {
                Some(packed) => packed,
                None => Packed::new(compress, piece).map_err(|error| error.to_string())?,
            };
            text.extend_from_slice(&packed.deflated);
            crc.combine(&packed.crc);
            known.insert(address, packed);
        }
        self.known = known;
        text.extend_from_slice(&LAST_BLOCK);
        text.extend_from_slice(&crc.sum().to_le_bytes());
        text.extend_from_slice(&crc.amount().to_le_bytes());
        Ok(text)
    }
}

impl Packed {
    fn new(compress: &mut Compress, piece: &Piece) -> Result<Self, flate2::CompressError> {
        compress.reset();
        let mut deflated = Vec::with_capacity(piece.len() / 4 + 64);
        loop {
            let read = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
            let rest = piece.get(read..).unwrap_or_default();
            let status = compress.compress_vec(rest, &mut deflated, FlushCompress::Sync)?;
            let done = compress.total_in() == piece.len() as u64;
            // A flush that fitted leaves room; one that is repeated says that there is nothing more to do.
            if done && (deflated.len() < deflated.capacity() || status == Status::BufError) {
                break;
            }
            deflated.reserve(deflated.capacity().max(64));
        }
        deflated.shrink_to_fit();
        let mut crc = Crc::new();
        crc.update(piece);
        Ok(Self { piece: Arc::clone(piece), deflated, crc })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
        text
    }

    #[test]
    fn pieces_are_one_stream_and_are_compressed_once() {
        let piece = |text: &str| Piece::from(text.as_bytes());
        let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut pieces = vec![piece("{"), piece(&"abc".repeat(10_000)), noise.into(), piece(""), piece("}")];
        let mut packer = Packer::default();
        let first = packer.pack(&pieces).unwrap();
        assert_eq!(unpacked(&first), pieces.concat());
        assert_eq!(packer.pack(&pieces).unwrap(), first);
        let kept = packer.known[&(Arc::as_ptr(&pieces[1]).cast::<u8>() as usize)].deflated.as_ptr();
        pieces[0] = piece("[");
        assert_eq!(unpacked(&packer.pack(&pieces).unwrap()), pieces.concat());
        assert_eq!(packer.known[&(Arc::as_ptr(&pieces[1]).cast::<u8>() as usize)].deflated.as_ptr(), kept);
        assert_eq!(unpacked(&packer.pack(&[]).unwrap()), b"");
    }
}
