//! Clips made by the system's ffmpeg with libx264 and libx265, and what ffprobe says of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;

/// One packet as ffprobe lists it.
pub(crate) struct Packet {
    /// Presentation time in the stream's time base.
    pub(crate) pts: i64,
    /// Decode time in the stream's time base.
    pub(crate) dts: i64,
    /// Duration in the stream's time base.
    pub(crate) duration: i64,
    /// Marked as key.
    pub(crate) key: bool,
    /// Its bytes in the file; of pictures, NAL units behind four-byte lengths.
    pub(crate) data: Bytes,
}

/// A clip in an MP4 file.
pub(crate) struct Clip {
    pub(crate) file: Bytes,
    /// Facts of the stream by ffprobe's names.
    pub(crate) stream: BTreeMap<String, String>,
    pub(crate) packets: Vec<Packet>,
}

impl Clip {
    /// A fact of the stream.
    pub(crate) fn fact(&self, name: &str) -> &str {
        self.stream.get(name).map_or("", String::as_str)
    }

    /// A number of the stream.
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.fact(name).parse().unwrap_or_else(|_| panic!("{name} is {:?}", self.fact(name)))
    }

    /// Two numbers of the stream with a sign between them.
    pub(crate) fn ratio(&self, name: &str) -> (u32, u32) {
        let (a, b) = self.fact(name).split_once([':', '/']).unwrap_or_else(|| panic!("no ratio {name}"));
        (a.parse().unwrap(), b.parse().unwrap())
    }

    /// Body of the first box of a type; the type must not occur in the file by chance before it.
    pub(crate) fn box_body(&self, kind: &[u8; 4]) -> Bytes {
        let at = self.file.windows(4).position(|w| w == kind).expect("box is there");
        let size = u32::from_be_bytes(self.file[at - 4..at].try_into().unwrap()) as usize;
        self.file.slice(at + 4..at - 4 + size)
    }
}

/// Runs a program and gives back its standard output.
pub(crate) fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    output.stdout
}

/// Encodes a test picture of a size and rate with `args` and lists the result.
pub(crate) fn encode(size: &str, rate: &str, frames: u32, args: &str) -> Clip {
    encode_from(&format!("testsrc2=size={size}:rate={rate}"), &format!("-frames:v {frames} {args}"))
}

/// Encodes a source of ffmpeg's `lavfi` with `args` and lists the result.
pub(crate) fn encode_from(source: &str, args: &str) -> Clip {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    let mut all = vec!["-v", "error", "-y", "-f", "lavfi", "-i", source];
    all.extend(args.split_whitespace());
    all.push(path.to_str().unwrap());
    run("ffmpeg", &all);
    probe(&path)
}

fn probe(path: &Path) -> Clip {
    let file = Bytes::from(std::fs::read(path).unwrap());
    let path = path.to_str().unwrap();
    let text = run("ffprobe", &["-v", "error", "-show_streams", "-of", "default=noprint_wrappers=1", path]);
    let stream = String::from_utf8(text)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
        .collect();
    let entries = "packet=pts,dts,duration,size,pos,flags";
    let text = run(
        "ffprobe",
        &["-v", "error", "-show_packets", "-show_entries", entries, "-of", "compact=p=0", path],
    );
    let packets = String::from_utf8(text)
        .unwrap()
        .lines()
        // Side data has lines of its own.
        .filter(|line| line.starts_with("pts="))
        .map(|line| {
            let fields: BTreeMap<&str, &str> = line.split('|').filter_map(|f| f.split_once('=')).collect();
            let number = |name: &str| fields[name].parse::<i64>().unwrap();
            let (pos, size) = (number("pos") as usize, number("size") as usize);
            Packet {
                pts: number("pts"),
                dts: number("dts"),
                duration: number("duration"),
                key: fields["flags"].starts_with('K'),
                data: file.slice(pos..pos + size),
            }
        })
        .collect();
    Clip { file, stream, packets }
}
