//! Viewers whose right has ended are cut off (auth-system.md 14).

use std::sync::Arc;

use heldar_base::Clock as _;
use heldar_live::{Cut, Newcomer};

use crate::accounts::Standing;
use crate::kernel::Kernel;
use crate::rhythm::Rhythm;

/// Looks at every viewer whenever a right has changed, and at each beat for those that end by themselves.
pub async fn cut_without_right(kernel: Arc<Kernel>) {
    let mut changes = kernel.accounts.changes();
    let mut beat = Rhythm::main().every(1);
    loop {
        tokio::select! {
            changed = changes.changed() => {
                // The sender lives as long as the kernel.
                debug_assert!(changed.is_ok());
            }
            _ = beat.tick() => {}
        }
        kernel.watching.viewers.cut_where(|viewer| reason(&kernel, viewer));
    }
}

/// Why a viewer has to go. One that may stay is activity of its sign-in.
fn reason(kernel: &Kernel, viewer: &Newcomer) -> Option<Cut> {
    let credential = &viewer.credential;
    match kernel.accounts.may_watch(credential, viewer.remote, &viewer.stream.camera) {
        Standing::Holds(_) => {
            kernel.accounts.directory().touch(credential, None, kernel.clock.wall());
            None
        }
        Standing::CredentialEnded => Some(Cut::CredentialEnded),
        Standing::RightEnded => Some(Cut::RightEnded),
    }
}
