//! Rights that something running stands on (auth-system.md 14).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use heldar_access::Refused;
use heldar_base::{CameraId, Capability, Clock as _, Credential, Micros, Principal, Scope, WallTime};
use heldar_http::{Reach, Right};

use super::Accounts;

/// Longest time between two looks, for what no change tells.
const LOOK: Duration = Duration::from_secs(15);

/// How a right stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds; until then, if nothing changes.
    Holds(Option<WallTime>),
    /// The credential does not.
    CredentialEnded,
    /// The credential does, but not for this any more.
    RightEnded,
}

impl Accounts {
    /// How a right stands now, used from an address. What nothing was shown for holds as long as access control is off,
    /// which is as long as the process runs.
    pub fn standing(
        &self,
        credential: &Credential,
        from: IpAddr,
        capability: Option<Capability>,
        reach: &Reach,
    ) -> Standing {
        if let Reach::Camera(camera) = reach
            && !self.directory().sites().has_camera(camera.as_str())
        {
            return Standing::RightEnded;
        }
        if *credential == Credential::Nothing {
            return Standing::Holds(None);
        }
        let resolved = match self.directory().resolve_from(credential, from, self.clock.wall()) {
            Ok(resolved) => resolved,
            Err(Refused::Invalid) => return Standing::CredentialEnded,
            Err(Refused::Address) => return Standing::RightEnded,
        };
        let principal = &resolved.principal;
        let reaches = match reach {
            Reach::Nothing => true,
            Reach::Camera(camera) => principal.scope.covers(camera),
            Reach::Scope(scope) => principal.scope == *scope,
        };
        let may = capability.is_none_or(|capability| principal.can(capability));
        if may && reaches && !resolved.must_change_password {
            Standing::Holds(resolved.until)
        } else {
            Standing::RightEnded
        }
    }

    /// What a principal may see with a capability now, used from an address, and until when if nothing changes.
    ///
    /// # Errors
    /// How its right has ended.
    pub fn scope_now(
        &self,
        principal: &Principal,
        from: IpAddr,
        capability: Option<Capability>,
    ) -> Result<(Scope, Option<WallTime>), Standing> {
        let credential = &principal.credential;
        match self.standing(credential, from, capability, &Reach::Nothing) {
            Standing::Holds(until) if *credential == Credential::Nothing => {
                Ok((principal.scope.clone(), until))
            }
            Standing::Holds(until) => {
                let resolved = self.directory().resolve_from(credential, from, self.clock.wall());
                // It held a moment ago.
                let resolved = resolved.map_err(|_refused| Standing::CredentialEnded)?;
                Ok((resolved.principal.scope.clone(), until))
            }
            ended => Err(ended),
        }
    }

    /// How a right to the live view of a camera stands.
    pub fn may_watch(&self, credential: &Credential, from: IpAddr, camera: &CameraId) -> Standing {
        self.standing(credential, from, Some(Capability::VideoLive), &Reach::Camera(camera.clone()))
    }

    /// Resolves when a right has ended. What stands on it is activity, which keeps a sign-in from being idle.
    pub async fn ended(self: Arc<Self>, right: Right) -> Standing {
        let credential = &right.principal.credential;
        let mut version = self.version.subscribe();
        loop {
            self.directory().touch(credential, None, self.clock.wall());
            let until = match self.standing(credential, right.address, right.capability, &right.reach) {
                Standing::Holds(until) => until,
                ended => return ended,
            };
            let next = until.map_or(LOOK, |until| self.until(until).min(LOOK));
            tokio::select! {
                changed = version.changed() => {
                    // The sender lives as long as `self`.
                    debug_assert!(changed.is_ok());
                }
                () = tokio::time::sleep(next) => {}
            }
        }
    }

    fn until(&self, at: WallTime) -> Duration {
        (at - self.clock.wall()).max(Micros(1000)).to_std()
    }

    /// Tells of each change.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.version.subscribe()
    }
}
