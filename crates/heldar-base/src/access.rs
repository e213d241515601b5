//! Who asks, and what they may see.
//!
//! A [`Scope`] travels with every read of the store and of media; what it does not cover cannot be named by the answer.

use std::collections::BTreeSet;

use crate::reason::slugs;
use crate::{CameraId, Secret};

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
    /// The credential it came with, when there was one; never shown.
    pub credential: Option<Secret<String>>,
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
            credential: None,
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
    fn an_empty_scope_covers_nothing() {
        let camera = CameraId::new("gate").unwrap();
        assert!(!Scope::Cameras(BTreeSet::new()).covers(&camera));
        assert_eq!(Scope::Cameras(BTreeSet::new()).check(&camera), Err(OutOfScope));
        assert!(Scope::All.covers(&camera));
    }
}
