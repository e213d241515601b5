//! `heldar demo`: test cameras and a server that records them, in one process and one folder.
//!
//! Owns: which cameras the demo has, and that they are registered once, with a task for the worker that finds objects. Goes
//! through the API like any client. Never reads or writes the footage and the database of another server: only flags move
//! the demo elsewhere. Street footage and worker are there where the machine has them; what is missing is said, with why.

mod objects;
mod street;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use heldar_config::{
    BindHost, CertificateSource, DatabaseTarget, DoctorEntry, Flags, Input, Settings, Source, TlsMode,
    TlsSettings, WorkerSettings, load,
};
use heldar_http::{App, BindError, Listeners};
use heldar_kernel::health::Configuration;
use heldar_testcam::fault::FaultSpec;
use heldar_testcam::{CameraInfo, Error, Options, Running};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use objects::Objects;

use crate::testcam::explain;
use crate::{USAGE_ERROR, complain, log, say, serve};

/// Id and name of each camera with the generated scene, in the order of the test cameras.
const CAMERAS: [(&str, &str); 4] =
    [("gate", "Gate"), ("yard", "Yard"), ("entrance", "Entrance"), ("workshop", "Workshop (drops out)")];
/// Those of the one with street footage.
const STREET: (&str, &str) = ("street", "Street");
/// What goes wrong with the last one, so that there is a gap to look at.
const FAULT: &str = "refuse:after=150,for=25,every=300";
/// Where the demo keeps everything but its clips.
const FOLDER: &str = "./data/demo";
/// RTSP port of the test cameras, so that they are found again after a restart; any other if it is taken. The next one is
/// that of the street.
const RTSP_PORT: u16 = 18_554;
/// Ports that are tried for the page, from the configured one on.
const PORTS: u16 = 100;
/// Longest answer of the API that is read.
const LONGEST_ANSWER: usize = 1 << 20;

/// Runs the command.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let loaded = load(&Input::from_process(Flags::take(arguments)));
    let mut settings = match loaded.settings {
        Ok(settings) => settings,
        Err(errors) => {
            complain(&format!("{errors}\n"));
            return ExitCode::from(USAGE_ERROR);
        }
    };
    let unset = |name: &str| loaded.entries.iter().any(|e| e.name == name && e.source == Source::Default);
    keep_apart(&mut settings, &loaded.entries);
    if unset("HELDAR_LOG") {
        log::QUIET.clone_into(&mut settings.log.filter);
    }
    if let Err(error) = log::start(&settings.log) {
        complain(&format!("{error}\n"));
        return ExitCode::from(USAGE_ERROR);
    }
    let ports = if unset("HELDAR_API_PORT") { PORTS } else { 1 };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("no runtime: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(settings, ports))
}

/// Keeps the demo in its own folder and on this machine, whatever the environment and the settings file say about the
/// server of this machine. Only flags are meant for the demo.
fn keep_apart(settings: &mut Settings, entries: &[DoctorEntry]) {
    let by_flag = |name: &str| entries.iter().any(|e| e.name == name && e.source == Source::Flag);
    let storage = &mut settings.storage;
    if !by_flag("HELDAR_DATA_DIR") {
        storage.data_dir = PathBuf::from(FOLDER);
    }
    if !by_flag("HELDAR_RECORDINGS_DIR") {
        storage.recordings_dir = storage.data_dir.join("recordings");
    }
    if !by_flag("HELDAR_CLIPS_DIR") {
        storage.clips_dir = storage.data_dir.join("clips");
    }
    if !by_flag("HELDAR_SNAPSHOTS_DIR") {
        storage.snapshots_dir = storage.data_dir.join("snapshots");
    }
    if !by_flag("HELDAR_DATABASE_URL") {
        settings.database.target = DatabaseTarget::in_folder(&storage.data_dir);
    }
    if !by_flag("HELDAR_TLS") {
        settings.tls = TlsSettings { certificate: CertificateSource::Off, redirect_port: None };
    }
    if !by_flag("HELDAR_WORKERS") {
        settings.workers = WorkerSettings::default();
    }
    if !by_flag("HELDAR_API_HOST") {
        settings.api.bind = BindHost::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
}

async fn run(mut settings: Settings, ports: u16) -> ExitCode {
    let media = Options::default().media_dir;
    let (cameras, street, objects) = tokio::join!(cameras(), street::start(&media), Objects::find());
    let cameras = match cameras {
        Ok(cameras) => cameras,
        Err(error) => return serve::failed(&explain(&error)),
    };
    let (listeners, address) = match listen(settings.clone(), ports).await {
        Ok(bound) => bound,
        Err(error) => return serve::failed(&error),
    };
    let workers = &mut settings.workers.commands;
    if let Ok(objects) = &objects
        && !workers.iter().any(|worker| worker.name == objects::NAME)
    {
        workers.push(objects.command.clone());
    }
    let task = objects.as_ref().ok().map(Objects::task);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let shown = shown(cameras.cameras(), street.as_ref().map_or(&[], Running::cameras), task.as_ref(), cores);
    let scheme = if settings.tls.mode() == TlsMode::Off { "http" } else { "https" };
    let banner =
        banner(&format!("{scheme}://{address}"), &shown, &street, &objects, &settings.storage.data_dir);
    // The variables do not tell what the demo makes of them.
    let configuration = Configuration::default();
    let code = serve::on(listeners, settings, configuration, move |app| {
        let app = app.clone();
        tokio::spawn(async move {
            match register(&app, &shown).await {
                Ok(()) => say(&banner),
                Err(error) => complain(&format!("heldar: the test cameras cannot be registered: {error}\n")),
            }
        });
    })
    .await;
    if let Ok(street) = street {
        street.stop().await;
    }
    cameras.stop().await;
    code
}

/// A camera of the demo.
struct Camera {
    id: &'static str,
    name: &'static str,
    info: CameraInfo,
    /// What is to be looked for.
    task: Option<Value>,
}

/// All of them, the street before the generated scene, its people being real. As many have the task as there are cores:
/// one core keeps up with three cameras, and has other things to do.
fn shown(scene: &[CameraInfo], street: &[CameraInfo], task: Option<&Value>, cores: usize) -> Vec<Camera> {
    let named = [STREET].into_iter().zip(street).chain(CAMERAS.into_iter().zip(scene));
    let numbered = named.enumerate().map(|(number, ((id, name), info))| {
        let task = task.filter(|_| number < cores).cloned();
        Camera { id, name, info: info.clone(), task }
    });
    numbered.collect()
}

/// Starts the test cameras; draws their scene first if nobody has yet.
async fn cameras() -> Result<Running, Error> {
    let fault = FaultSpec::parse(FAULT).map_err(|error| Error::Option(error.to_string()))?;
    let count = u32::try_from(CAMERAS.len()).unwrap_or(1);
    let options =
        Options { cameras: count, faults: vec![(Some(count), fault)], port: RTSP_PORT, ..Options::default() };
    if !options.media_dir.exists() {
        say("Drawing the scene for the test cameras, once; this takes up to a minute.\n");
    }
    start_cameras(options).await
}

/// Starts test cameras on their port, or on another if it is taken.
async fn start_cameras(options: Options) -> Result<Running, Error> {
    match heldar_testcam::start(options.clone()).await {
        Err(Error::Listen { .. }) => heldar_testcam::start(Options { port: 0, ..options }).await,
        started => started,
    }
}

/// Binds the configured port, or the next free one of so many.
async fn listen(mut settings: Settings, ports: u16) -> Result<(Listeners, SocketAddr), String> {
    let first = settings.api.port;
    for port in (first..=u16::MAX).take(usize::from(ports)) {
        settings.api.port = port;
        let addresses = serve::addresses(&settings).await?;
        match Listeners::bind(&addresses).await {
            Ok(listeners) => {
                let bound = listeners.addresses();
                let address = *bound.first().ok_or("nothing is listened on")?;
                return Ok((listeners, address));
            }
            Err(BindError::InUse(_)) if ports > 1 => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("no port from {first} on is free"))
}

fn banner(
    origin: &str,
    cameras: &[Camera],
    street: &Result<Running, String>,
    objects: &Result<Objects, String>,
    folder: &Path,
) -> String {
    let rtsp = cameras.first().map(|camera| camera.info.url.as_str()).unwrap_or_default();
    let watched: Vec<&str> = cameras.iter().filter(|c| c.task.is_some()).map(|c| c.name).collect();
    let street = match street {
        Ok(_) => "Street shows real people, from the samples of OpenCV".to_owned(),
        Err(why) => format!("no street footage: {why}"),
    };
    let objects = match objects {
        Ok(objects) => {
            let watched = watched.join(", ");
            format!("{}\n  looked for on {watched}: {origin}/api/v1/detections", objects.shown())
        }
        Err(why) => format!("people and vehicles are not found: {why}"),
    };
    format!(
        "\nHeldar demo: open {origin}/\n\n  {} test cameras, the first at {rtsp}\n  Workshop drops out for 25 s every 5 \
         minutes, to show what a gap looks like\n  {street}\n  {objects}\n  everything is kept in {}; Ctrl-C stops it\n\n",
        cameras.len(),
        folder.display()
    )
}

/// Makes the API know the test cameras at the addresses that they have now, and their tasks.
async fn register(app: &App, cameras: &[Camera]) -> Result<(), String> {
    for Camera { id, name, info, task } in cameras {
        let path = format!("/api/v1/cameras/{id}");
        let (status, known) = call(app, Method::GET, &path, None).await?;
        let wanted = json!({ "main_stream_url": info.url, "sub_stream_url": info.sub_url });
        let (status, answer) = match status {
            StatusCode::NOT_FOUND => {
                let mut body = wanted;
                body["id"] = json!(id);
                body["name"] = json!(name);
                call(app, Method::POST, "/api/v1/cameras", Some(body)).await?
            }
            // The page may have changed everything else; without an account the masked address is the address.
            StatusCode::OK if known["main_url_masked"] == info.url.as_str() => (status, known),
            StatusCode::OK => call(app, Method::PATCH, &path, Some(wanted)).await?,
            _ => (status, known),
        };
        accepted(id, status, &answer)?;
        if let Some(task) = task {
            // One that is there stays as it is.
            let (status, answer) =
                call(app, Method::POST, &format!("{path}/ai-tasks"), Some(task.clone())).await?;
            accepted(id, status, &answer)?;
        }
    }
    Ok(())
}

fn accepted(camera: &str, status: StatusCode, answer: &Value) -> Result<(), String> {
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("{camera}: {status} {}", answer["error"].as_str().unwrap_or_default())),
    }
}

/// One request of this machine.
async fn call(
    app: &App,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<(StatusCode, Value), String> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1");
    let body = match body {
        Some(value) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(value.to_string())
        }
        None => Body::empty(),
    };
    let request = request.body(body).map_err(|error| error.to_string())?;
    let response = app.call(request, SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), LONGEST_ANSWER);
    let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: &str, folder: &str, recordings: &str, database: &str) {
        let flags = Flags::take(flags.split_whitespace().map(OsString::from));
        let env = [
            ("HELDAR_DATA_DIR", "/srv/real"),
            ("HELDAR_RECORDINGS_DIR", "/srv/footage"),
            ("HELDAR_DATABASE_URL", "postgres://localhost/real"),
        ];
        let env = env.map(|(name, value)| (name.into(), value.into())).to_vec();
        let loaded = load(&Input { flags, env, files: &heldar_config::HostFiles });
        let mut settings = loaded.settings.unwrap();
        keep_apart(&mut settings, &loaded.entries);
        assert_eq!(settings.storage.data_dir, Path::new(folder));
        assert_eq!(settings.storage.recordings_dir, Path::new(recordings));
        assert_eq!(settings.database.target, DatabaseTarget::parse(database).unwrap());
    }

    #[test]
    fn only_flags_move_the_demo() {
        let default = "sqlite:./data/demo/heldar.db";
        check("", "./data/demo", "./data/demo/recordings", default);
        check("--data-dir /x", "/x", "/x/recordings", "sqlite:/x/heldar.db");
        check("--recordings-dir /r", "./data/demo", "/r", default);
        check("--database-url sqlite:/y.db", "./data/demo", "./data/demo/recordings", "sqlite:/y.db");
    }

    #[test]
    fn the_street_comes_first_and_each_core_has_a_camera() {
        let info = |name: &str| CameraInfo {
            camera: name.to_owned(),
            url: format!("rtsp://127.0.0.1/{name}"),
            sub_url: None,
            profile: None,
            user: None,
            codec: None,
            width: 640,
            height: 360,
            frame_rate: 25.0,
            clip_pictures: 500,
            http: None,
        };
        let (scene, street) = (["cam1", "cam2", "cam3", "cam4"].map(info), [info("cam1")]);
        let ids = |cameras: &[Camera], all: bool| -> Vec<&str> {
            cameras.iter().filter(|camera| all || camera.task.is_some()).map(|camera| camera.id).collect()
        };
        let task = json!({});
        let with = shown(&scene, &street, Some(&task), 2);
        assert_eq!(ids(&with, true), ["street", "gate", "yard", "entrance", "workshop"]);
        assert_eq!(ids(&with, false), ["street", "gate"]);
        assert_eq!(with[1].info.url, "rtsp://127.0.0.1/cam1");
        let without = shown(&scene, &[], Some(&task), 64);
        assert_eq!(ids(&without, false), ["gate", "yard", "entrance", "workshop"]);
        assert!(ids(&shown(&scene, &street, None, 64), false).is_empty());
    }

    #[test]
    fn the_fault_is_one() {
        assert!(FaultSpec::parse(FAULT).is_ok());
    }
}
