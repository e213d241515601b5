//! The parts of Heldar that settings belong to.

macro_rules! parts {
    ($($(#[$meta:meta])* $part:ident = $title:literal,)+) => {
        /// A part of Heldar; the order is that of the reference.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Part { $($(#[$meta])* $part,)+ }

        impl Part {
            /// Every part.
            pub const ALL: &'static [Part] = &[$(Part::$part,)+];

            /// Its heading.
            pub const fn title(self) -> &'static str {
                match self { $(Part::$part => $title,)+ }
            }
        }
    };
}

parts! {
    /// Where settings come from.
    Sources = "Sources",
    /// Listener, limits, proxies, browsers.
    Api = "API",
    /// Log.
    Log = "Log and time zone",
    /// TLS.
    Tls = "TLS",
    /// Certificates that an authority gives.
    Acme = "Certificates from an authority (ACME)",
    /// Who gets in, and how strict the server is about its surroundings.
    Access = "Access and posture",
    /// People, keys and sessions.
    Accounts = "Accounts and keys",
    /// Single sign-on.
    SingleSignOn = "Single sign-on",
    /// Second factor.
    SecondFactor = "Second factor",
    /// Share links.
    Shares = "Share links",
    /// Sealing of stored secrets.
    Secrets = "Stored secrets",
    /// Outgoing connections.
    Egress = "Outgoing connections",
    /// Folders.
    Storage = "Folders",
    /// Store.
    Database = "Database",
    /// Copies of the store.
    DatabaseBackup = "Database backup",
    /// Recorder and camera defaults.
    Recording = "Cameras and recording",
    /// Schedules, triggers, pre-roll.
    Triggers = "Schedules and triggers",
    /// What is deleted when.
    Retention = "Retention",
    /// Audit trail.
    Audit = "Audit",
    /// Playback.
    Playback = "Playback",
    /// Clips.
    Clips = "Clips",
    /// Health and readiness.
    Health = "Health",
    /// SMART and RAID.
    DiskHealth = "Disk health",
    /// Live view and restream.
    Live = "Live view",
    /// Scheduled snapshots.
    Snapshots = "Snapshots",
    /// Backup of footage and archives.
    FootageBackup = "Footage backup and archives",
    /// Second copy of recordings.
    Mirror = "Mirror",
    /// Gap refill from the device.
    Refill = "Gap refill",
    /// Discovery, ONVIF, device control.
    Devices = "Devices",
    /// Site, and what leads here from elsewhere.
    Fleet = "Site and fleet",
    /// Registration with a control plane.
    ControlPlane = "Control plane registration",
    /// AI tasks, frames, ingest, fan-out.
    Perception = "Perception",
    /// Notifications.
    Webhooks = "Webhooks",
    /// Modules and their proxy.
    Modules = "Modules and catalog",
    /// Mail.
    Mail = "Mail",
    /// Plugins.
    Wasm = "WASM plugins",
    /// Domain apps.
    Apps = "Apps",
    /// Workers that the server starts.
    WorkerCommands = "Workers that the server starts",
    /// Worker processes.
    Workers = "Worker processes",
    /// Installers, containers, test runs.
    Packaging = "Packaging and tests",
    /// What earlier set-ups may still set.
    Obsolete = "Without effect",
}
