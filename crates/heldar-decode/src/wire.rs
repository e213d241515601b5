//! What a decoder process is told and what it answers.
//!
//! Owns: the bytes of both directions. A message is its length in four bytes, its kind in one, and its fields, integers
//! little-endian. Both ends are of one version and start together, so the form carries no version. Neither end believes the
//! other: every length is checked, and no byte string reaches a panic.

use std::io;

use heldar_media::VideoCodec;

/// Longest message; a picture of 8192x8192 as JPEG, and any access unit that a bus carries, stay below it.
pub const MAX_MESSAGE: usize = 64 << 20;
/// Pictures that one access unit can be turned into at most.
pub const MAX_OUTPUTS: usize = 16;

/// What a picture is to become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {
    /// Form of its bytes.
    pub format: Format,
    /// Width in pixels at most; pictures are never scaled up, their aspect is kept and their height is even. 0: as it is.
    pub width: u16,
    /// Only this part of the picture.
    pub crop: Option<Crop>,
}

/// Form of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG of this quality, 1 to 100.
    Jpeg(u8),
    /// The luma plane, one byte a pixel, rows without padding.
    Luma,
    /// Luma and both colours at half the resolution, one plane after the other, rows without padding, full range.
    Planar,
}

/// A part of a picture, in 0..1 from the top left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

/// What to do with an access unit besides decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hints {
    /// It can be decoded alone, and nothing after it is sent that needs anything before: its picture is given out at once,
    /// whatever the stream's order would allow to be still to come.
    pub alone: bool,
    /// Pictures that no other refers to need not be decoded unless they are asked for.
    pub skip_unreferenced: bool,
}

/// What a decoder process is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Request<'a> {
    /// A stream begins.
    Open {
        /// Number, not in use.
        stream: u32,
        /// Coding.
        codec: VideoCodec,
        /// How many pictures may come before another in decoding order and after it in presentation order.
        reorder_depth: u8,
        /// Body of the `avcC` or `hvcC` box.
        config: &'a [u8],
    },
    /// One coded picture.
    Unit {
        /// Its stream.
        stream: u32,
        /// What its picture is called; unique in the stream until it is flushed, rising in presentation order.
        pts: i64,
        /// How to treat it.
        hints: Hints,
        /// What to make of its picture; empty when others need it only.
        outputs: Vec<Output>,
        /// NAL units, each behind its length in four bytes.
        payload: &'a [u8],
    },
    /// Nothing follows what was sent: give out what is still to come, and begin anew with a sync sample.
    Flush {
        /// Its stream.
        stream: u32,
        /// Repeated in the answer.
        token: u32,
    },
    /// Makes a JPEG of planes that are there already; answered like a unit, by a stream that need not be open.
    Encode {
        /// Whom to answer.
        stream: u32,
        /// Repeated in the answer, as the name of the picture.
        pts: i64,
        /// In pixels.
        width: u16,
        /// In pixels.
        height: u16,
        /// 1 to 100.
        quality: u8,
        /// As in [`Format::Planar`].
        planes: &'a [u8],
    },
    /// The stream ends.
    Close {
        /// Its number, free again.
        stream: u32,
    },
}

/// A picture of a decoded unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// In pixels.
    pub width: u16,
    /// In pixels.
    pub height: u16,
    /// The part of the source that it shows, where only a part was asked for; its edges lie on even pixels.
    pub crop: Option<Crop>,
    /// In the form that was asked for.
    pub data: Vec<u8>,
}

/// What a decoder process answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A unit's picture.
    Picture {
        /// Its stream.
        stream: u32,
        /// Which.
        pts: i64,
        /// Width of the decoded picture.
        width: u16,
        /// Height of the decoded picture.
        height: u16,
        /// Processor time that the stream took since its last answer, in microseconds.
        cpu_us: u32,
        /// One for each output, in their order.
        images: Vec<Image>,
    },
    /// A unit gave no picture that can be shown.
    Malformed {
        /// Its stream.
        stream: u32,
        /// Which.
        pts: i64,
        /// As in [`Answer::Picture`].
        cpu_us: u32,
        /// What was wrong.
        why: String,
    },
    /// All that was to come has come.
    Flushed {
        /// Its stream.
        stream: u32,
        /// Of the request.
        token: u32,
        /// As in [`Answer::Picture`].
        cpu_us: u32,
    },
}

/// Forms of a picture that are not the quality of a JPEG.
const LUMA: u8 = 0;
const PLANAR: u8 = 255;

const OPEN: u8 = 1;
const UNIT: u8 = 2;
const FLUSH: u8 = 3;
const CLOSE: u8 = 4;
const ENCODE: u8 = 5;
const PICTURE: u8 = 129;
const MALFORMED: u8 = 130;
const FLUSHED: u8 = 131;

/// Bytes in front of every message: the length of what follows.
pub const LENGTH_BYTES: usize = 4;

/// Length of the message behind these bytes.
///
/// # Errors
/// It is longer than [`MAX_MESSAGE`].
pub fn message_len(bytes: [u8; LENGTH_BYTES]) -> io::Result<usize> {
    let len = u32::from_le_bytes(bytes) as usize;
    if len > MAX_MESSAGE { Err(invalid("a message is too long")) } else { Ok(len) }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Request<'_> {
    /// The whole message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::Open { stream, codec, reorder_depth, config } => Writer::new(OPEN, 16 + config.len())
                .u32(*stream)
                .u8(match codec {
                    VideoCodec::H264 => 0,
                    VideoCodec::H265 => 1,
                })
                .u8(*reorder_depth)
                .rest(config),
            Request::Unit { stream, pts, hints, outputs, payload } => {
                let mut writer =
                    Writer::new(UNIT, 32 + 20 * outputs.len() + payload.len()).u32(*stream).i64(*pts);
                writer = writer.u8(u8::from(hints.alone) | u8::from(hints.skip_unreferenced) << 1);
                writer = writer.u8(u8::try_from(outputs.len()).unwrap_or(u8::MAX));
                for output in outputs {
                    writer = writer.output(output);
                }
                writer.rest(payload)
            }
            Request::Flush { stream, token } => Writer::new(FLUSH, 9).u32(*stream).u32(*token).done(),
            Request::Encode { stream, pts, width, height, quality, planes } => {
                let writer = Writer::new(ENCODE, 24 + planes.len()).u32(*stream).i64(*pts);
                writer.u16(*width).u16(*height).u8(*quality).rest(planes)
            }
            Request::Close { stream } => Writer::new(CLOSE, 5).u32(*stream).done(),
        }
    }
}

impl<'a> Request<'a> {
    /// Reads what follows the length of a message.
    ///
    /// # Errors
    /// It is no request.
    pub fn decode(message: &'a [u8]) -> io::Result<Self> {
        let mut reader = Reader(message);
        match reader.u8()? {
            OPEN => {
                let stream = reader.u32()?;
                let codec = match reader.u8()? {
                    0 => VideoCodec::H264,
                    1 => VideoCodec::H265,
                    _ => return Err(invalid("unknown coding")),
                };
                Ok(Request::Open { stream, codec, reorder_depth: reader.u8()?, config: reader.0 })
            }
            UNIT => {
                let (stream, pts, bits) = (reader.u32()?, reader.i64()?, reader.u8()?);
                let hints = Hints { alone: bits & 1 != 0, skip_unreferenced: bits & 2 != 0 };
                let count = usize::from(reader.u8()?);
                if count > MAX_OUTPUTS {
                    return Err(invalid("too many outputs"));
                }
                let outputs = (0..count).map(|_| reader.output()).collect::<io::Result<_>>()?;
                Ok(Request::Unit { stream, pts, hints, outputs, payload: reader.0 })
            }
            FLUSH => Ok(Request::Flush { stream: reader.u32()?, token: reader.u32()? }),
            ENCODE => Ok(Request::Encode {
                stream: reader.u32()?,
                pts: reader.i64()?,
                width: reader.u16()?,
                height: reader.u16()?,
                quality: reader.u8()?,
                planes: reader.0,
            }),
            CLOSE => Ok(Request::Close { stream: reader.u32()? }),
            _ => Err(invalid("unknown request")),
        }
    }
}

impl Answer {
    /// The stream that it is about.
    pub fn stream(&self) -> u32 {
        match self {
            Answer::Picture { stream, .. }
            | Answer::Malformed { stream, .. }
            | Answer::Flushed { stream, .. } => *stream,
        }
    }

    /// The whole message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Picture { stream, pts, width, height, cpu_us, images } => {
                let bytes: usize = images.iter().map(|image| image.data.len() + 32).sum();
                let mut writer = Writer::new(PICTURE, 32 + bytes).u32(*stream).i64(*pts);
                writer = writer.u16(*width).u16(*height).u32(*cpu_us);
                writer = writer.u8(u8::try_from(images.len()).unwrap_or(u8::MAX));
                for image in images {
                    writer = writer.u16(image.width).u16(image.height).crop(image.crop).bytes(&image.data);
                }
                writer.done()
            }
            Answer::Malformed { stream, pts, cpu_us, why } => Writer::new(MALFORMED, 24 + why.len())
                .u32(*stream)
                .i64(*pts)
                .u32(*cpu_us)
                .rest(why.as_bytes()),
            Answer::Flushed { stream, token, cpu_us } => {
                Writer::new(FLUSHED, 13).u32(*stream).u32(*token).u32(*cpu_us).done()
            }
        }
    }

    /// Reads what follows the length of a message.
    ///
    /// # Errors
    /// It is no answer.
    pub fn decode(message: &[u8]) -> io::Result<Self> {
        let mut reader = Reader(message);
        match reader.u8()? {
            PICTURE => {
                let (stream, pts) = (reader.u32()?, reader.i64()?);
                let (width, height, cpu_us) = (reader.u16()?, reader.u16()?, reader.u32()?);
                let count = usize::from(reader.u8()?);
                let mut images = Vec::with_capacity(count.min(MAX_OUTPUTS));
                for _ in 0..count {
                    let (width, height, crop) = (reader.u16()?, reader.u16()?, reader.crop()?);
                    images.push(Image { width, height, crop, data: reader.bytes()?.to_vec() });
                }
                Ok(Answer::Picture { stream, pts, width, height, cpu_us, images })
            }
            MALFORMED => Ok(Answer::Malformed {
                stream: reader.u32()?,
                pts: reader.i64()?,
                cpu_us: reader.u32()?,
                why: String::from_utf8_lossy(reader.0).into_owned(),
            }),
            FLUSHED => {
                Ok(Answer::Flushed { stream: reader.u32()?, token: reader.u32()?, cpu_us: reader.u32()? })
            }
            _ => Err(invalid("unknown answer")),
        }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8, len: usize) -> Self {
        let mut bytes = Vec::with_capacity(LENGTH_BYTES + len);
        bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        bytes.push(kind);
        Writer(bytes)
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u8(self, value: u8) -> Self {
        self.put(&[value])
    }

    fn u16(self, value: u16) -> Self {
        self.put(&value.to_le_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.put(&value.to_le_bytes())
    }

    fn i64(self, value: i64) -> Self {
        self.put(&value.to_le_bytes())
    }

    fn f32(self, value: f32) -> Self {
        self.put(&value.to_le_bytes())
    }

    fn crop(self, crop: Option<Crop>) -> Self {
        match crop {
            None => self.u8(0),
            Some(Crop { x, y, w, h }) => self.u8(1).f32(x).f32(y).f32(w).f32(h),
        }
    }

    fn output(self, output: &Output) -> Self {
        let format = match output.format {
            Format::Luma => LUMA,
            Format::Planar => PLANAR,
            Format::Jpeg(quality) => quality.clamp(1, 100),
        };
        self.u8(format).u16(output.width).crop(output.crop)
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).put(bytes)
    }

    fn rest(self, bytes: &[u8]) -> Vec<u8> {
        self.put(bytes).done()
    }

    fn done(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
        self.0[..LENGTH_BYTES].copy_from_slice(&len.to_le_bytes());
        self.0
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> io::Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len).ok_or_else(|| invalid("a message is too short"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.take(N)?.first_chunk::<N>().copied().ok_or_else(|| invalid("a message is too short"))
    }

    fn u8(&mut self) -> io::Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> io::Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> io::Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn f32(&mut self) -> io::Result<f32> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    fn crop(&mut self) -> io::Result<Option<Crop>> {
        match self.u8()? {
            0 => Ok(None),
            _ => Ok(Some(Crop { x: self.f32()?, y: self.f32()?, w: self.f32()?, h: self.f32()? })),
        }
    }

    fn output(&mut self) -> io::Result<Output> {
        let format = match self.u8()? {
            LUMA => Format::Luma,
            PLANAR => Format::Planar,
            quality => Format::Jpeg(quality.min(100)),
        };
        Ok(Output { format, width: self.u16()?, crop: self.crop()? })
    }

    fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn crops() -> impl Strategy<Value = Option<Crop>> {
        proptest::option::of((0f32..1.0, 0f32..1.0, 0f32..1.0, 0f32..1.0))
            .prop_map(|crop| crop.map(|(x, y, w, h)| Crop { x, y, w, h }))
    }

    fn outputs() -> impl Strategy<Value = Vec<Output>> {
        let format =
            prop_oneof![Just(Format::Luma), Just(Format::Planar), (1u8..=100).prop_map(Format::Jpeg)];
        let output = (format, any::<u16>(), crops());
        proptest::collection::vec(
            output.prop_map(|(format, width, crop)| Output { format, width, crop }),
            0..MAX_OUTPUTS,
        )
    }

    fn body(message: &[u8]) -> &[u8] {
        let len = message_len(*message.first_chunk().expect("a length")).expect("short enough");
        assert_eq!(message.len(), LENGTH_BYTES + len);
        &message[LENGTH_BYTES..]
    }

    fn requests_come_back(request: &Request<'_>) {
        assert_eq!(&Request::decode(body(&request.encode())).expect("a request"), request);
    }

    fn answers_come_back(answer: &Answer) {
        assert_eq!(&Answer::decode(body(&answer.encode())).expect("an answer"), answer);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            stream: u32, pts: i64, token: u32, alone: bool, skip: bool, outputs in outputs(),
            payload in proptest::collection::vec(any::<u8>(), 0..200), cpu_us: u32, crop in crops(),
            size: (u16, u16), depth: u8, why in "[ -~]{0,40}",
        ) {
            for codec in [VideoCodec::H264, VideoCodec::H265] {
                requests_come_back(&Request::Open { stream, codec, reorder_depth: depth, config: &payload });
            }
            let hints = Hints { alone, skip_unreferenced: skip };
            requests_come_back(&Request::Unit { stream, pts, hints, outputs, payload: &payload });
            requests_come_back(&Request::Flush { stream, token });
            let (width, height) = size;
            requests_come_back(&Request::Encode { stream, pts, width, height, quality: depth, planes: &payload });
            requests_come_back(&Request::Close { stream });
            let image = Image { width: size.0, height: size.1, crop, data: payload.clone() };
            let images = vec![image.clone(), image];
            answers_come_back(&Answer::Picture { stream, pts, width: size.0, height: size.1, cpu_us, images });
            answers_come_back(&Answer::Malformed { stream, pts, cpu_us, why });
            answers_come_back(&Answer::Flushed { stream, token, cpu_us });
        }

        #[test]
        fn no_bytes_reach_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0u8..140) {
            let _unread = Request::decode(&bytes);
            let _unread = Answer::decode(&bytes);
            let message: Vec<u8> = std::iter::once(kind).chain(bytes).collect();
            let _unread = Request::decode(&message);
            let _unread = Answer::decode(&message);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused() {
        assert!(message_len(u32::MAX.to_le_bytes()).is_err());
        assert!(message_len((MAX_MESSAGE as u32).to_le_bytes()).is_ok());
    }
}
