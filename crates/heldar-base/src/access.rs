//! Who asks, and what they may see.
//!
//! A [`Scope`] travels with every read of the store and of media; what it does not cover cannot be named by the answer.

use std::collections::BTreeSet;

use crate::CameraId;
use crate::reason::slugs;

slugs! {
    /// One right. The order is that of every list.
    Capability {
        /// Implies every other.
        Admin = "admin",
        /// Every mutation unless stated otherwise.
        RegistryManage = "registry:manage",
        /// Gates of apps.
        GateOperate = "gate:operate",
        /// Inventory, health, sites, stream test.
        CameraRead = "camera:read",
        /// Live view.
        VideoLive = "video:live",
        /// Recorded footage and its index.
        VideoPlayback = "video:playback",
        /// Clips and downloads.
        VideoExport = "video:export",
        /// Events.
        EventsRead = "events:read",
        /// Identities of apps.
        IdentityRead = "identity:read",
        /// AI tasks.
        AiTasks = "ai:tasks",
        /// Frames for workers.
        AiFrames = "ai:frames",
        /// Results of workers.
        AiIngest = "ai:ingest",
        /// Embedding work.
        AiEmbedwork = "ai:embedwork",
        /// System pages and metrics.
        SystemRead = "system:read",
        /// Network discovery.
        NetScan = "net:scan",
        /// Pages of modules.
        ModuleProxy = "module:proxy",
    }
}

slugs! {
    /// A named set of capabilities.
    Role {
        /// Every capability.
        Admin = "admin",
        /// Everyday management.
        Manager = "manager",
        /// Watches and operates gates.
        Guard = "guard",
        /// Watches.
        Viewer = "viewer",
        /// A machine.
        Integration = "integration",
    }
}

slugs! {
    /// What a principal is.
    PrincipalKind {
        /// A person who signed in.
        User = "user",
        /// A machine with a key.
        ApiKey = "api_key",
        /// Nobody in particular: access control is off.
        System = "system",
    }
}

/// The cameras that a principal may see or touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every camera and everything that belongs to none.
    All,
    /// These cameras only; an empty set means none, never all.
    Cameras(BTreeSet<CameraId>),
}

/// A camera outside the scope was named. Says nothing about whether it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("outside the camera scope of these credentials")]
pub struct OutOfScope;

impl Scope {
    /// True when every camera is covered.
    pub fn is_all(&self) -> bool {
        matches!(self, Scope::All)
    }

    /// True when this camera is covered.
    pub fn covers(&self, camera: &CameraId) -> bool {
        match self {
            Scope::All => true,
            Scope::Cameras(set) => set.contains(camera),
        }
    }

    /// Checks a camera that a caller named.
    ///
    /// # Errors
    /// [`OutOfScope`], decided before anyone looks whether the camera exists.
    pub fn check(&self, camera: &CameraId) -> Result<(), OutOfScope> {
        if self.covers(camera) { Ok(()) } else { Err(OutOfScope) }
    }
}

impl Role {
    /// What it may do. Under `enforced` machine auth, a machine can no longer watch.
    pub fn capabilities(self, enforced: bool) -> BTreeSet<Capability> {
        use Capability::*;
        let view = [
            CameraRead,
            VideoLive,
            VideoPlayback,
            VideoExport,
            EventsRead,
            IdentityRead,
            AiTasks,
            AiFrames,
            SystemRead,
            NetScan,
            ModuleProxy,
        ];
        match self {
            Role::Admin => Capability::ALL.iter().copied().collect(),
            Role::Manager => view.into_iter().chain([GateOperate, RegistryManage]).collect(),
            Role::Guard => view.into_iter().chain([GateOperate]).collect(),
            Role::Viewer => view.into(),
            Role::Integration if enforced => {
                [CameraRead, EventsRead, AiTasks, AiFrames, AiIngest, AiEmbedwork].into()
            }
            Role::Integration => view.into_iter().chain([AiIngest, AiEmbedwork]).collect(),
        }
    }
}

/// What a principal came with. The id names the credential and is no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// Nothing: access control is off.
    Nothing,
    /// A sign-in.
    Session(String),
    /// A secret of a key.
    Key(KeySecret),
}

/// One of the secrets that a key has had, named without showing it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySecret {
    /// Id of the key.
    pub key: String,
    /// Which of its secrets: the first digits of its hash.
    pub generation: String,
}

impl Credential {
    /// Its id, for the audit trail.
    pub fn id(&self) -> Option<&str> {
        match self {
            Credential::Nothing => None,
            Credential::Session(id) => Some(id),
            Credential::Key(secret) => Some(&secret.key),
        }
    }
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub struct Principal {
    /// What it is.
    pub kind: PrincipalKind,
    /// Its id; `system` while access control is off.
    pub id: String,
    /// Its display name, never empty.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// What it may do.
    pub capabilities: BTreeSet<Capability>,
    /// Where it may do so.
    pub scope: Scope,
    /// What it came with.
    pub credential: Credential,
}

impl Principal {
    /// The principal of every request while access control is off.
    pub fn system() -> Self {
        Principal {
            kind: PrincipalKind::System,
            id: "system".to_owned(),
            name: "system".to_owned(),
            role: Role::Admin,
            capabilities: Capability::ALL.iter().copied().collect(),
            scope: Scope::All,
            credential: Credential::Nothing,
        }
    }

    /// True when it holds the capability, itself or through `admin`.
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability) || self.capabilities.contains(&Capability::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles() {
        let view = Role::Viewer.capabilities(false);
        assert_eq!(view.len(), 11);
        for (role, more) in [
            (Role::Guard, &[Capability::GateOperate][..]),
            (Role::Manager, &[Capability::RegistryManage, Capability::GateOperate]),
            (Role::Integration, &[Capability::AiIngest, Capability::AiEmbedwork]),
        ] {
            let has = role.capabilities(false);
            assert!(has.is_superset(&view), "{role}");
            assert_eq!(has.difference(&view).copied().collect::<Vec<_>>(), more, "{role}");
        }
        assert_eq!(Role::Admin.capabilities(true).len(), Capability::ALL.len());
        let machine = Role::Integration.capabilities(true);
        assert!(machine.len() == 6 && !machine.contains(&Capability::VideoPlayback));
        assert_eq!(Role::Viewer.capabilities(true), view);
    }

    #[test]
    fn an_empty_scope_covers_nothing() {
        let camera = CameraId::new("gate").unwrap();
        assert!(!Scope::Cameras(BTreeSet::new()).covers(&camera));
        assert_eq!(Scope::Cameras(BTreeSet::new()).check(&camera), Err(OutOfScope));
        assert!(Scope::All.covers(&camera));
    }
}
