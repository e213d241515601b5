//! One run of this build: a fresh server, its cameras added through the API, and a look at its ledger afterwards.

use std::time::Duration;

use super::report::{Run, Side};
use super::{Options, Window, now};
use crate::bench::cameras::TestCameras;
use crate::bench::clips::Clip;
use crate::bench::folder::{TempFolder, bytes_below};
use crate::bench::loss::Loss;
use crate::bench::server::Server;
use crate::complain;

pub(super) async fn run(
    options: &Options,
    clip: &Clip,
    cameras: &mut TestCameras,
    number: u32,
) -> Result<Run, String> {
    let folder = TempFolder::new(options.folder.as_deref())?;
    let mut server = Server::start(folder.path(), &[]).await?;
    server.add_cameras(&cameras.urls, clip).await?;
    server.all_recording(cameras.urls.len(), options.warm_up()).await?;
    tokio::time::sleep(options.settle()).await;

    let bytes = bytes_below(&server.recordings())?;
    complain(&format!("run {number} heldar: process {} is measured from now on\n", server.id()));
    let window = Window::open(server.usage()?, cameras)?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let run = window.close(&server.usage()?, cameras, number)?;
    let to = now();

    let recorded = bytes_below(&server.recordings())?.saturating_sub(bytes);
    let loss = Loss::of(&mut server, cameras.urls.len(), window.from, to).await?;
    server.stop().await?;
    Ok(Run { of: Side::Heldar, recorded_mib: recorded as f64 / 1_048_576.0, loss: Some(loss), ..run })
}
