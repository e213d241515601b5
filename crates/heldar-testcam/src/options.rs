//! What to run, and its command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use heldar_rtsp::server::Account;

use crate::Error;
use crate::fault::FaultSpec;
use crate::profile::{self, Profile};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many cameras.
    pub cameras: u32,
    /// Address to listen on.
    pub bind: IpAddr,
    /// RTSP port; 0 finds one.
    pub port: u16,
    /// Port of the truth on the loopback address; 0 finds one, `None` serves none.
    pub http_port: Option<u16>,
    /// MP4 file that cameras loop as their main stream; the generated scene if `None`. Profiles that are about coding keep
    /// their own clip.
    pub video: Option<PathBuf>,
    /// MP4 file of the sub streams, beside `video`.
    pub sub_video: Option<PathBuf>,
    /// Who may look; everyone if `None`, except where a profile is about passwords: then `admin` with `testcam`.
    pub account: Option<Account>,
    /// Profiles, given to the cameras in turn; ordinary cameras if there is none.
    pub profiles: Vec<&'static Profile>,
    /// Faults from the start on: of one camera, counted from 1, or of all.
    pub faults: Vec<(Option<u32>, FaultSpec)>,
    /// Folder of the generated clips.
    pub media_dir: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            cameras: 1,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            http_port: None,
            video: None,
            sub_video: None,
            account: None,
            profiles: Vec::new(),
            faults: Vec::new(),
            media_dir: PathBuf::from("media"),
        }
    }
}

/// Command line of the test cameras.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How many cameras; as many as profiles if that is more
    #[arg(long, default_value_t = 1)]
    pub cameras: u32,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// RTSP port, 0 to find one
    #[arg(long, default_value_t = 8554)]
    pub port: u16,
    /// Serve ground truth and faults over HTTP on this port of the loopback address
    #[arg(long)]
    pub http_port: Option<u16>,
    /// MP4 file to loop instead of the generated scene
    #[arg(long)]
    pub video: Option<PathBuf>,
    /// MP4 file to loop as the sub stream
    #[arg(long, requires = "video")]
    pub sub_video: Option<PathBuf>,
    /// User who may look
    #[arg(long, requires = "password")]
    pub user: Option<String>,
    /// Password of that user
    #[arg(long, requires = "user")]
    pub password: Option<String>,
    /// Camera profile, several with commas between, or `zoo` for all
    #[arg(long, value_delimiter = ',')]
    pub profile: Vec<String>,
    /// List the profiles and end
    #[arg(long)]
    pub list_profiles: bool,
    /// Fault of all cameras, NAME[:VALUE][,key=value...] with keys after, for, every in seconds; of one as camN/NAME...
    #[arg(long)]
    pub fault: Vec<String>,
    /// Folder of the generated clips
    #[arg(long, default_value = "media")]
    pub media_dir: PathBuf,
}

impl Arguments {
    /// The options these arguments mean.
    ///
    /// # Errors
    /// Unknown profiles and faults.
    pub fn into_options(self) -> Result<Options, Error> {
        let mut profiles = Vec::new();
        for name in &self.profile {
            match name.as_str() {
                "zoo" => profiles.extend(profile::all()),
                name => profiles.push(
                    profile::find(name).ok_or_else(|| Error::Option(format!("`{name}` is no profile")))?,
                ),
            }
        }
        let faults = self.fault.iter().map(|text| parse_fault(text)).collect::<Result<_, _>>()?;
        Ok(Options {
            cameras: self.cameras.max(u32::try_from(profiles.len()).unwrap_or(u32::MAX)),
            bind: self.bind,
            port: self.port,
            http_port: self.http_port,
            video: self.video,
            sub_video: self.sub_video,
            account: self
                .user
                .zip(self.password)
                .map(|(user, password)| Account { user, password: password.into() }),
            profiles,
            faults,
            media_dir: self.media_dir,
        })
    }
}

/// `NAME...` or `camN/NAME...`.
fn parse_fault(text: &str) -> Result<(Option<u32>, FaultSpec), Error> {
    let fail = |error: &dyn std::fmt::Display| Error::Option(error.to_string());
    let (camera, fault) = match text.split_once('/') {
        Some((camera, fault)) => {
            let number = camera.strip_prefix("cam").and_then(|number| number.parse().ok());
            (Some(number.ok_or_else(|| fail(&format!("`{camera}` is no camera")))?), fault)
        }
        None => (None, text),
    };
    Ok((camera, FaultSpec::parse(fault).map_err(|error| fail(&error))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(words: &[&str]) -> Result<Options, String> {
        let command =
            Command::try_parse_from(std::iter::once(&"testcam").chain(words)).map_err(|e| e.to_string())?;
        command.arguments.into_options().map_err(|e| e.to_string())
    }

    #[test]
    fn command_lines() {
        let options = parse(&["--cameras", "4", "--fault", "stall", "--fault", "cam2/drop:after=3"]).unwrap();
        assert_eq!(options.cameras, 4);
        assert_eq!(options.faults.iter().map(|(camera, _)| *camera).collect::<Vec<_>>(), [None, Some(2)]);
        let zoo = parse(&["--profile", "zoo"]).unwrap();
        assert_eq!(zoo.cameras as usize, profile::all().len());
        assert_eq!(parse(&["--profile", "open_gop,b_frames"]).unwrap().profiles.len(), 2);
        for bad in
            [&["--profile", "nothing"][..], &["--fault", "nothing"], &["--fault", "x/drop"], &["--user", "a"]]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
