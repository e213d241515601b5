//! Which stream stands behind a path of the RTSP server, and who may see it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use heldar_rtsp::server::{
    AccessRequest, Account, BoxFuture, Challenger, Check, Host, OpenError, Stream, Verdict,
};

use crate::fault::Control;
use crate::feed::Feed;

/// One camera.
#[derive(Debug)]
pub(crate) struct Camera {
    pub(crate) name: String,
    pub(crate) profile: Option<&'static str>,
    pub(crate) control: Arc<Control>,
    /// Main stream first.
    pub(crate) feeds: Vec<Arc<Mutex<Feed>>>,
    pub(crate) account: Option<Account>,
    pub(crate) challenger: Challenger,
}

pub(crate) struct CameraHost {
    cameras: Vec<Arc<Camera>>,
    paths: HashMap<String, (Arc<Camera>, Arc<Stream>)>,
}

impl CameraHost {
    pub(crate) fn new(cameras: Vec<Arc<Camera>>) -> Self {
        let mut paths = HashMap::new();
        for camera in &cameras {
            for feed in &camera.feeds {
                let feed = crate::feed::lock(feed);
                paths.insert(feed.path.clone(), (Arc::clone(camera), Arc::clone(&feed.stream)));
            }
        }
        CameraHost { cameras, paths }
    }

    fn decide(&self, request: &AccessRequest<'_>) -> Verdict {
        let Some((camera, _)) = self.paths.get(request.path) else { return Verdict::NotFound };
        let effects = camera.control.effects(Instant::now());
        if effects.refuses {
            return Verdict::HangUp;
        }
        let checked = match &camera.account {
            _ if effects.bad_auth => Check::Failed,
            None => Check::Passed,
            Some(account) => {
                camera.challenger.check(account, request.credentials, request.method, request.uri)
            }
        };
        match checked {
            Check::Passed => Verdict::Granted,
            refused => Verdict::Challenge(camera.challenger.challenges(refused)),
        }
    }
}

impl Host for CameraHost {
    /// All cameras share a port, so a connection can be refused before its first request only if they all refuse.
    fn admit(&self, _peer: SocketAddr) -> bool {
        let now = Instant::now();
        !self.cameras.iter().all(|camera| camera.control.effects(now).refuses)
    }

    fn authorize<'a>(&'a self, request: &'a AccessRequest<'a>) -> BoxFuture<'a, Verdict> {
        Box::pin(std::future::ready(self.decide(request)))
    }

    fn open<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Arc<Stream>, OpenError>> {
        let stream = self.paths.get(path).map(|(_, stream)| Arc::clone(stream));
        Box::pin(std::future::ready(stream.ok_or(OpenError::NotFound)))
    }
}
