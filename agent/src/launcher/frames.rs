//! How an agent and a launcher tell each other what is typed and printed: frames on a socket.
//!
//! A frame is its kind in one byte, the length of what follows in two, and that. Both ends are the same
//! program, but not always the same build of it: a launcher outlives its agent. So kinds are never
//! given another meaning.

use super::Window;

/// Bytes of input or output in one frame.
pub(crate) const PAYLOAD_MAX: usize = 16 << 10;

/// Bytes before the payload.
const HEAD: usize = 3;

/// One thing told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Frame {
    /// To the launcher: this was typed.
    Typed(Vec<u8>),
    /// To the launcher: nothing more will be typed.
    End,
    /// To the launcher: the terminal has another size.
    Resized(Window),
    /// To the agent: this was printed.
    Printed(Channel, Vec<u8>),
    /// To the agent: what is sent on this connection is taken as input.
    Taken,
    /// To the agent: input comes from somebody else already.
    Busy,
}

/// Where something is printed to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Channel {
    /// The command's output, and all of a terminal.
    Stdout,
    /// Its complaints.
    Stderr,
}

/// What was received is no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a frame of an unknown kind or form was received")]
pub(crate) struct BadFrame;

impl Frame {
    /// As it is sent. What is typed or printed must be at most [`PAYLOAD_MAX`] bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Typed(bytes) => (0, bytes.clone()),
            Self::End => (1, Vec::new()),
            Self::Resized(window) => {
                (2, [window.rows.to_be_bytes(), window.columns.to_be_bytes()].concat())
            }
            Self::Printed(Channel::Stdout, bytes) => (3, bytes.clone()),
            Self::Printed(Channel::Stderr, bytes) => (4, bytes.clone()),
            Self::Taken => (5, Vec::new()),
            Self::Busy => (6, Vec::new()),
        };
        let length = u16::try_from(payload.len()).expect("payloads are cut before");
        let mut all = Vec::with_capacity(HEAD + payload.len());
        all.push(kind);
        all.extend(length.to_be_bytes());
        all.extend(payload);
        all
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Self, BadFrame> {
        Ok(match (kind, payload) {
            (0, bytes) => Self::Typed(bytes.to_vec()),
            (1, []) => Self::End,
            (2, &[rows, more_rows, columns, more_columns]) => Self::Resized(Window {
                rows: u16::from_be_bytes([rows, more_rows]),
                columns: u16::from_be_bytes([columns, more_columns]),
            }),
            (3, bytes) => Self::Printed(Channel::Stdout, bytes.to_vec()),
            (4, bytes) => Self::Printed(Channel::Stderr, bytes.to_vec()),
            (5, []) => Self::Taken,
            (6, []) => Self::Busy,
            _ => return Err(BadFrame),
        })
    }
}

/// Puts frames together from what is received. It holds at most one frame and what was pushed last.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes in what was received next.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until more comes.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, BadFrame> {
        let Some((&[kind, high, low], rest)) = self.buffer.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > PAYLOAD_MAX {
            return Err(BadFrame);
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = Frame::decode(kind, payload)?;
        self.buffer.drain(..HEAD + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_however_they_are_cut() {
        let all = [
            Frame::Typed(b"ls\n".to_vec()),
            Frame::Typed(Vec::new()),
            Frame::End,
            Frame::Resized(Window { rows: 50, columns: 300 }),
            Frame::Printed(Channel::Stdout, vec![7; PAYLOAD_MAX]),
            Frame::Printed(Channel::Stderr, b"no".to_vec()),
            Frame::Taken,
            Frame::Busy,
        ];
        let sent: Vec<u8> = all.iter().flat_map(Frame::encode).collect();
        for size in [1, 2, 3, 7, 1_000, sent.len()] {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for part in sent.chunks(size) {
                decoder.push(part);
                while let Some(frame) = decoder.next().expect("they are frames") {
                    got.push(frame);
                }
            }
            assert_eq!(got, all, "in parts of {size}");
        }
    }

    #[test]
    fn what_is_no_frame_is_told() {
        for bad in [&[9, 0, 0][..], &[1, 0, 1, 0], &[2, 0, 1, 0], &[0, 0xff, 0xff]] {
            let mut decoder = Decoder::default();
            decoder.push(bad);
            assert_eq!(decoder.next(), Err(BadFrame), "{bad:?}");
        }
    }
}
