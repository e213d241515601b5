//! Scopes as they are written, and what they cover now (auth-system.md 10.1).

use std::collections::{BTreeMap, BTreeSet};

use heldar_base::{CameraId, Scope, SiteId};

/// What is wrong with a scope that is about to be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A kind that does not exist.
    #[error("expected `all` or `cameras`")]
    Kind,
    /// A camera id that is blank.
    #[error("a camera id is blank")]
    BlankCamera(usize),
    /// A site id that is blank.
    #[error("a site id is blank")]
    BlankSite(usize),
    /// Limited, and to nothing.
    #[error("a scope of kind `cameras` names at least one camera or site")]
    Empty,
}

/// The scope of a person or a key as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSpec {
    /// Limited to the lists.
    pub limited: bool,
    /// Cameras, whether or not they exist.
    pub cameras: Vec<String>,
    /// Sites: every camera of them, now and later.
    pub sites: Vec<String>,
}

impl ScopeSpec {
    /// Every camera.
    pub const KIND_ALL: &'static str = "all";
    /// Those of the lists.
    pub const KIND_CAMERAS: &'static str = "cameras";

    /// From a request.
    ///
    /// # Errors
    /// [`ScopeError`].
    pub fn written(kind: &str, cameras: Vec<String>, sites: Vec<String>) -> Result<Self, ScopeError> {
        let limited = match kind {
            Self::KIND_ALL => false,
            Self::KIND_CAMERAS => true,
            _ => return Err(ScopeError::Kind),
        };
        let cameras = tidied(cameras).map_err(ScopeError::BlankCamera)?;
        let sites = tidied(sites).map_err(ScopeError::BlankSite)?;
        if limited && cameras.is_empty() && sites.is_empty() {
            return Err(ScopeError::Empty);
        }
        Ok(ScopeSpec { limited, cameras, sites })
    }

    /// From the store: its kind, and both lists as JSON. What cannot be read covers nothing.
    pub fn stored(kind: &str, cameras: &str, sites: &str) -> Self {
        match (kind, serde_json::from_str(cameras), serde_json::from_str(sites)) {
            (Self::KIND_ALL, cameras, sites) => ScopeSpec {
                limited: false,
                cameras: cameras.unwrap_or_default(),
                sites: sites.unwrap_or_default(),
            },
            (Self::KIND_CAMERAS, Ok(cameras), Ok(sites)) => ScopeSpec { limited: true, cameras, sites },
            _ => ScopeSpec { limited: true, ..ScopeSpec::default() },
        }
    }

    /// Its kind on the wire.
    pub fn kind(&self) -> &'static str {
        if self.limited { Self::KIND_CAMERAS } else { Self::KIND_ALL }
    }

    /// The cameras that it covers now.
    pub fn resolve(&self, sites: &SiteCameras) -> Scope {
        if !self.limited {
            return Scope::All;
        }
        let mut covered: BTreeSet<CameraId> =
            self.cameras.iter().filter_map(|id| CameraId::new(id).ok()).collect();
        for cameras in self.sites.iter().filter_map(|id| sites.of_site(id)) {
            covered.extend(cameras.iter().cloned());
        }
        Scope::Cameras(covered)
    }

    /// Ids in the lists that name nothing now.
    pub fn unknown(&self, sites: &SiteCameras) -> Vec<String> {
        let cameras = self.cameras.iter().filter(|id| !sites.has_camera(id));
        let unknown_sites = self.sites.iter().filter(|id| sites.of_site(id).is_none());
        cameras.chain(unknown_sites).cloned().collect()
    }
}

fn tidied(ids: Vec<String>) -> Result<Vec<String>, usize> {
    let mut set = BTreeSet::new();
    for (index, id) in ids.iter().enumerate() {
        match id.trim() {
            "" => return Err(index),
            id => set.insert(id.to_owned()),
        };
    }
    Ok(set.into_iter().collect())
}

/// Which cameras there are, and of which site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteCameras {
    sites: BTreeMap<SiteId, BTreeSet<CameraId>>,
    cameras: BTreeMap<CameraId, Option<SiteId>>,
}

impl SiteCameras {
    /// A site is there.
    pub fn put_site(&mut self, site: SiteId) {
        self.sites.entry(site).or_default();
    }

    /// A site is gone; its cameras belong to none.
    pub fn remove_site(&mut self, site: &SiteId) {
        for camera in self.sites.remove(site).unwrap_or_default() {
            self.cameras.insert(camera, None);
        }
    }

    /// A camera is there, and belongs to this site.
    pub fn put_camera(&mut self, camera: CameraId, site: Option<SiteId>) {
        self.leave(&camera);
        if let Some(site) = &site {
            self.sites.entry(site.clone()).or_default().insert(camera.clone());
        }
        self.cameras.insert(camera, site);
    }

    /// A camera is gone with all of its footage.
    pub fn remove_camera(&mut self, camera: &CameraId) {
        self.leave(camera);
        self.cameras.remove(camera);
    }

    fn leave(&mut self, camera: &CameraId) {
        if let Some(Some(site)) = self.cameras.get(camera)
            && let Some(cameras) = self.sites.get_mut(site)
        {
            cameras.remove(camera);
        }
    }

    /// Whether a camera is there, in use or removed with its footage kept.
    pub fn has_camera(&self, id: &str) -> bool {
        self.cameras.contains_key(id)
    }

    fn of_site(&self, id: &str) -> Option<&BTreeSet<CameraId>> {
        self.sites.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn camera(id: &str) -> CameraId {
        CameraId::new(id).unwrap()
    }

    fn site(id: &str) -> SiteId {
        SiteId::new(id).unwrap()
    }

    #[test]
    fn what_is_written() {
        let written = |kind: &str, cameras: &[&str], sites: &[&str]| {
            ScopeSpec::written(kind, texts(cameras), texts(sites))
        };
        assert_eq!(written("all", &[], &[]), Ok(ScopeSpec::default()));
        assert_eq!(written("every", &[], &[]), Err(ScopeError::Kind));
        assert_eq!(written("cameras", &[], &[]), Err(ScopeError::Empty));
        assert_eq!(written("cameras", &["a", " "], &[]), Err(ScopeError::BlankCamera(1)));
        assert_eq!(written("all", &[], &[""]), Err(ScopeError::BlankSite(0)));
        let spec = written("cameras", &["b", " a ", "b"], &["s"]).unwrap();
        assert_eq!(spec, ScopeSpec { limited: true, cameras: texts(&["a", "b"]), sites: texts(&["s"]) });
    }

    #[test]
    fn what_cannot_be_read_covers_nothing() {
        let none = Scope::Cameras(BTreeSet::new());
        for (kind, cameras, sites) in [
            ("cameras", "[", "[]"),
            ("cameras", "[]", "{}"),
            ("ALL", "[]", "[]"),
            ("", "", ""),
            ("cameras", "[1]", "[]"),
        ] {
            let scope = ScopeSpec::stored(kind, cameras, sites).resolve(&SiteCameras::default());
            assert_eq!(scope, none, "{kind} {cameras} {sites}");
        }
        assert_eq!(ScopeSpec::stored("all", "?", "?").resolve(&SiteCameras::default()), Scope::All);
    }

    #[test]
    fn a_site_covers_its_cameras_now_and_later() {
        let mut sites = SiteCameras::default();
        sites.put_site(site("s"));
        let spec = ScopeSpec { limited: true, cameras: texts(&["x", "No Slug"]), sites: texts(&["s", "t"]) };
        let covered = |sites: &SiteCameras| match spec.resolve(sites) {
            Scope::All => panic!("everything"),
            Scope::Cameras(set) => set.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>(),
        };
        assert_eq!(covered(&sites), ["x"]);
        sites.put_camera(camera("a"), Some(site("s")));
        sites.put_camera(camera("b"), Some(site("t")));
        assert_eq!(covered(&sites), ["a", "b", "x"]);
        assert_eq!(spec.unknown(&sites), ["x", "No Slug"]);
        sites.put_camera(camera("a"), Some(site("u")));
        sites.remove_site(&site("t"));
        assert_eq!(covered(&sites), ["x"]);
        assert_eq!(spec.unknown(&sites), ["x", "No Slug", "t"]);
        sites.put_camera(camera("a"), Some(site("s")));
        sites.remove_camera(&camera("a"));
        assert_eq!(covered(&sites), ["x"]);
    }
}
