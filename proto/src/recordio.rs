//! RecordIO: how a stream of messages is cut into records.
//!
//! A record is the length of its payload in decimal, a line feed, and the payload. Where the bytes
//! are cut by the network means nothing.

use bytes::{Bytes, BytesMut};

/// The largest payload that a peer is expected to send.
///
/// The biggest records in use are snapshots of clusters with ten thousands of tasks, at some
/// kilobytes a task. A longer one ends the stream.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// Digits of the longest length: those of 2^64.
const LENGTH_DIGITS_MAX: usize = 20;

/// Makes a record of a payload.
pub fn encode(payload: &[u8]) -> Bytes {
    let mut record = Vec::with_capacity(payload.len() + 1 + LENGTH_DIGITS_MAX);
    record.extend_from_slice(payload.len().to_string().as_bytes());
    record.push(b'\n');
    record.extend_from_slice(payload);
    record.into()
}

/// Why a stream has no more records.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The length is not a decimal number.
    #[error("Failed to decode record header: not a decimal length")]
    Header,
    /// The record is longer than what is taken here.
    #[error("Record of {length} bytes is longer than the allowed {max}")]
    TooLong {
        /// What its header says.
        length: u64,
        /// What is taken.
        max: usize,
    },
}

/// Puts records together from the bytes of a stream.
///
/// After an error it gives that error for ever: nobody can tell where the next record begins.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Payload length of the record whose header has been read.
    length: Option<usize>,
    length_max: usize,
    failed: Option<RecordError>,
}

impl Decoder {
    /// Takes records of up to `length_max` bytes.
    pub fn new(length_max: usize) -> Self {
        Self { buffer: BytesMut::new(), length: None, length_max, failed: None }
    }

    /// Takes in the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole record; `None` until more bytes come.
    #[expect(clippy::should_implement_trait, reason = "`None` is not the end")]
    pub fn next(&mut self) -> Result<Option<Bytes>, RecordError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        })
    }

    /// Whether the stream may end here: not within a record.
    pub fn is_between_records(&self) -> bool {
        self.failed.is_none() && self.length.is_none() && self.buffer.is_empty()
    }

    fn advance(&mut self) -> Result<Option<Bytes>, RecordError> {
        let length = match self.length {
            Some(length) => length,
            None => match self.header()? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < length {
            self.length = Some(length);
            return Ok(None);
        }
        self.length = None;
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn header(&mut self) -> Result<Option<usize>, RecordError> {
        let digits = self.buffer.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > LENGTH_DIGITS_MAX {
            return Err(RecordError::Header);
        }
        match self.buffer.get(digits) {
            None => return Ok(None),
            Some(b'\n') if digits > 0 => {}
            Some(_) => return Err(RecordError::Header),
        }
        let header = self.buffer.split_to(digits + 1);
        let length = std::str::from_utf8(&header[..digits]).expect("digits");
        let length: u64 = length.parse().map_err(|_| RecordError::Header)?;
        match usize::try_from(length) {
            Ok(fits) if fits <= self.length_max => Ok(Some(fits)),
            _ => Err(RecordError::TooLong { length, max: self.length_max }),
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(RECORD_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(decoder: &mut Decoder) -> Result<Vec<Bytes>, RecordError> {
        std::iter::from_fn(|| decoder.next().transpose()).collect()
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_records_are_the_same(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(1_usize..20, 1..40),
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| encode(payload)).collect();
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            let mut rest = &stream[..];
            for &cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                rest = later;
                decoder.push(now);
                found.extend(records(&mut decoder).expect("a good stream"));
            }
            prop_assert_eq!(found, payloads);
            prop_assert!(decoder.is_between_records());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut decoder = Decoder::new(100);
            decoder.push(&bytes);
            let _ = records(&mut decoder);
        }
    }

    #[test]
    fn a_bad_header_ends_the_stream_for_good() {
        for bad in ["x\n", "-1\nx", "1 \nx", "\nx", "0x1\nx", " 1\nx", "123456789012345678901\n"] {
            let mut decoder = Decoder::default();
            decoder.push(bad.as_bytes());
            assert_eq!(decoder.next(), Err(RecordError::Header), "{bad:?}");
            decoder.push(b"1\nx");
            assert_eq!(decoder.next(), Err(RecordError::Header), "{bad:?}, still");
        }
    }

    #[test]
    fn a_record_that_is_too_long_is_refused_by_its_header() {
        let mut decoder = Decoder::new(3);
        decoder.push(b"3\nabc4\n");
        assert_eq!(decoder.next(), Ok(Some(Bytes::from_static(b"abc"))));
        assert_eq!(decoder.next(), Err(RecordError::TooLong { length: 4, max: 3 }));
    }

    #[test]
    fn an_empty_record_is_a_record() {
        let mut decoder = Decoder::default();
        decoder.push(b"0\n0\n");
        assert_eq!(decoder.next(), Ok(Some(Bytes::new())));
        assert_eq!(decoder.next(), Ok(Some(Bytes::new())));
        assert_eq!(decoder.next(), Ok(None));
    }
}
