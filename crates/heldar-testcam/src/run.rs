//! Starts cameras, announces them, and ends them.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use heldar_rtsp::server::{Config, Format, Server};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::assemble::{self, Library};
use crate::fault::FaultSpec;
use crate::feed::{Feed, lock};
use crate::host::{Camera, CameraHost};
use crate::truth::Truth;
use crate::{Error, Options, engine, http};

/// One camera as it is announced, one JSON object per line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CameraInfo {
    /// Its name.
    pub camera: String,
    /// URL of its main stream, without credentials.
    pub url: String,
    /// URL of its sub stream, if it has one.
    pub sub_url: Option<String>,
    /// Profile it follows.
    pub profile: Option<&'static str>,
    /// User who may look, if not everyone.
    pub user: Option<String>,
    /// `h264` or `hevc`.
    pub codec: Option<&'static str>,
    /// Width of its pictures.
    pub width: u16,
    /// Height of its pictures.
    pub height: u16,
    /// Pictures per second, on average.
    pub frame_rate: f64,
    /// Pictures until the clip begins anew.
    pub clip_pictures: usize,
    /// Where HTTP is served.
    pub http: Option<String>,
}

/// Cameras that run on the current runtime until they are dropped or stopped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    http_address: Option<SocketAddr>,
    infos: Vec<CameraInfo>,
    cameras: Vec<Arc<Camera>>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
    helpers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Where RTSP is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where HTTP is served.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// The cameras.
    pub fn cameras(&self) -> &[CameraInfo] {
        &self.infos
    }

    /// Adds a fault to a camera, counted from 0. For a change of parameters it must have been among the options, so that the
    /// other pictures are there.
    pub fn add_fault(&self, camera: usize, spec: FaultSpec) {
        if let Some(camera) = self.cameras.get(camera) {
            let now = Instant::now();
            camera.control.add(spec, now);
            camera.feeds.iter().for_each(|feed| lock(feed).refresh(now));
        }
    }

    /// Ends all faults of a camera, counted from 0.
    pub fn clear_faults(&self, camera: usize) {
        if let Some(camera) = self.cameras.get(camera) {
            camera.control.clear(Instant::now());
        }
    }

    /// Closes all connections and ends.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // An error means that it has ended already.
        let _ended = (&mut self.server).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
        self.helpers.iter().for_each(JoinHandle::abort);
    }
}

/// Starts cameras on the current runtime.
///
/// # Errors
/// A clip that can't be read or encoded, an address that can't be listened on.
pub async fn start(mut options: Options) -> Result<Running, Error> {
    options.cameras = options.cameras.max(1);
    let library = Arc::new(Library::new(options.media_dir.clone()));
    let assembled = {
        let (options, library) = (options.clone(), Arc::clone(&library));
        tokio::task::spawn_blocking(move || assemble::cameras(&options, &library)).await
    };
    let cameras = assembled.map_err(|error| Error::Option(error.to_string()))??;
    let listen = SocketAddr::new(options.bind, options.port);
    let mut config = Config::new(listen);
    config.max_connections = (options.cameras as usize).saturating_mul(16).max(config.max_connections);
    config.max_sessions = config.max_connections;
    let host = Arc::new(CameraHost::new(cameras.clone()));
    let server =
        Server::bind(config, host).await.map_err(|source| Error::Listen { address: listen, source })?;
    let address = server.local_addr();
    let http = match options.http_port {
        Some(port) => Some(listen_http(port).await?),
        None => None,
    };
    let http_address = http.as_ref().map(|(_, address)| *address);
    let infos: Vec<_> = cameras.iter().map(|camera| info(camera, address, http_address)).collect();
    let feeds = cameras.iter().flat_map(|camera| camera.feeds.iter().cloned()).collect();
    let mut helpers = vec![tokio::spawn(engine::run(feeds))];
    if let Some((listener, _)) = http {
        let truth = Truth { cameras: cameras.clone(), infos: infos.clone(), library, video: options.video };
        helpers.push(tokio::spawn(http::serve(listener, Arc::new(truth))));
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(server.run(async move {
        // Told or dropped, both mean the end.
        let _either = stopped.await;
    }));
    Ok(Running { address, http_address, infos, cameras, stop: Some(stop), server, helpers })
}

async fn listen_http(port: u16) -> Result<(TcpListener, SocketAddr), Error> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let fail = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

fn info(camera: &Camera, mut address: SocketAddr, http: Option<SocketAddr>) -> CameraInfo {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let url = |feed: &Feed| {
        let query = feed.query().map_or(String::new(), |query| format!("?{query}"));
        format!("rtsp://{address}/{}{query}", feed.path)
    };
    let mut urls = camera.feeds.iter().map(|feed| url(&lock(feed)));
    let (main, sub_url) = (urls.next().unwrap_or_default(), urls.next());
    let video = camera.feeds.first().and_then(|feed| lock(feed).video().cloned());
    let (width, height) = video.as_ref().map_or((0, 0), |video| video.track.size);
    CameraInfo {
        camera: camera.name.clone(),
        url: main,
        sub_url,
        profile: camera.profile,
        user: camera.account.as_ref().map(|account| account.user.clone()),
        codec: video.as_ref().map(|video| match video.format() {
            Format::H265(_) => "hevc",
            _ => "h264",
        }),
        width,
        height,
        frame_rate: video.as_ref().map_or(0.0, |video| (video.rate() * 1000.0).round() / 1000.0),
        clip_pictures: video.map_or(0, |video| video.track.samples.len()),
        http: http.map(|http| format!("http://{http}")),
    }
}

/// Runs cameras until `shutdown` is done; writes one JSON line per camera to `out` once they can be reached.
///
/// # Errors
/// As [`start`], and an `out` that can't be written to.
pub async fn run(
    options: Options,
    mut out: impl Write,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let running = start(options).await?;
    for camera in running.cameras() {
        let mut line = serde_json::to_vec(camera).map_err(|error| Error::Output(error.into()))?;
        line.push(b'\n');
        out.write_all(&line).map_err(Error::Output)?;
    }
    out.flush().map_err(Error::Output)?;
    shutdown.await;
    running.stop().await;
    Ok(())
}

/// Runs what a command line asks for until SIGTERM or SIGINT. Cameras or the list of profiles go to `out`.
///
/// # Errors
/// As [`run`], and arguments that make no sense.
pub async fn run_command(arguments: crate::Arguments, mut out: impl Write) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    if arguments.list_profiles {
        return crate::profile::all()
            .iter()
            .try_for_each(|profile| writeln!(out, "{:22} {}", profile.name, profile.description))
            .map_err(Error::Output);
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Output)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Output)?;
    run(arguments.into_options()?, out, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}
