//! A private PostgreSQL cluster for tests.
//!
//! Owns: a cluster in a folder of its own, listening on a free port of the loopback address, run by a user of its own
//! when the tests run as root (the server refuses root). Never: a cluster that was there before.
//!
//! The server is the child of a small guard whose standard input is held by the test process. When that ends, however
//! it ends, the guard stops the server and removes the folder.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Name of the superuser of the cluster; it has no password.
const SUPERUSER: &str = "heldar";
/// How long a server may take to answer its first connection or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the server given by the arguments behind `$1`, the folder. A line on standard input is the signal to stop it
/// with; the end of standard input is the end of the test process. Signals are repeated, as a server that is only just
/// starting ignores them.
const GUARD: &str = r#"
folder=$1; shift
"$@" >>"$folder/server.log" 2>&1 </dev/null &
server=$!
if read -r signal; then cleanup=false; else cleanup=true; signal=INT; fi
while kill -s "$signal" "$server" 2>/dev/null; do sleep 0.05; done
wait "$server"
if $cleanup; then cd / && rm -rf "$folder"; fi
"#;

/// Why there is no cluster.
#[derive(Debug)]
pub enum PostgresError {
    /// The server is not installed.
    NotInstalled,
    /// A program of the server failed; what it said.
    Failed(String),
    /// The file system or the process table refused something.
    Io(io::Error),
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PostgresError::NotInstalled => f.write_str(
                "PostgreSQL is not installed; on Debian: write `create_main_cluster = false` into \
                 /etc/postgresql-common/createcluster.conf, then `apt-get install -y postgresql`",
            ),
            PostgresError::Failed(said) => write!(f, "PostgreSQL failed: {said}"),
            PostgresError::Io(error) => write!(f, "PostgreSQL could not be run: {error}"),
        }
    }
}

impl std::error::Error for PostgresError {}

impl From<io::Error> for PostgresError {
    fn from(error: io::Error) -> Self {
        PostgresError::Io(error)
    }
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Connections are cut and the server ends in order.
    Fast,
    /// The server ends without writing anything down, as in a crash; what was not synced may be lost.
    Immediate,
}

/// A running cluster.
pub struct PostgresCluster {
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    user: Option<(u32, u32)>,
    guard: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl PostgresCluster {
    /// Makes a cluster and starts it. Its default collation is a linguistic one, so that a text column that forgot to
    /// compare bytewise is found.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not run.
    pub fn start() -> Result<Self, PostgresError> {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let bin = find_bin().ok_or(PostgresError::NotInstalled)?;
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("heldar-postgres-{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        let user = server_user()?;
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid))?;
        }
        let cluster = PostgresCluster {
            bin,
            folder,
            port: free_port()?,
            user,
            guard: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        let mut initdb = cluster.command("initdb");
        initdb.arg("--pgdata").arg(cluster.data()).args([
            "--username",
            SUPERUSER,
            "--auth",
            "trust",
            "--no-sync",
        ]);
        initdb.args([
            "--encoding",
            "UTF8",
            "--locale",
            "C.UTF-8",
            "--locale-provider",
            "icu",
            "--icu-locale",
            "en-US",
        ]);
        run(&mut initdb)?;
        cluster.resume()?;
        Ok(cluster)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    /// The server is stopped.
    pub fn create_database(&self) -> Result<String, PostgresError> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut createdb = self.command("createdb");
        createdb.args([
            "--host",
            "127.0.0.1",
            "--username",
            SUPERUSER,
            "--port",
            &self.port.to_string(),
            &name,
        ]);
        run(&mut createdb)?;
        Ok(self.url(self.port, &name))
    }

    /// URL of a database by its name, at another port: that of a proxy before the server.
    pub fn url(&self, port: u16, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{port}/{database}")
    }

    /// Stops the server and waits for its end.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn stop(&self, how: Stop) -> Result<(), PostgresError> {
        let guard = self.guard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut guard) = guard else { return Ok(()) };
        let signal = match how {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        };
        if let Some(stdin) = guard.stdin.as_mut() {
            stdin.write_all(format!("{signal}\n").as_bytes())?;
        }
        guard.wait()?;
        Ok(())
    }

    /// Starts the server again after [`PostgresCluster::stop`], at the same port, and waits until it answers.
    ///
    /// # Errors
    /// It does not come up.
    pub fn resume(&self) -> Result<(), PostgresError> {
        let mut command = self.as_user("sh");
        command.args(["-c", GUARD, "guard"]).arg(&self.folder).arg(self.bin.join("postgres")).arg("-D");
        command.arg(self.data()).args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "shared_buffers=32MB",
            "max_connections=200",
            "autovacuum_naptime=5s",
        ] {
            command.args(["-c", setting]);
        }
        // A group of its own: an interrupt at the terminal ends the tests, and these the server.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn()?;
        *self.guard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(child);
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> Result<(), PostgresError> {
        let deadline = Instant::now() + PATIENCE;
        let mut ready = self.command("pg_isready");
        ready.args(["--host", "127.0.0.1", "--quiet", "--port", &self.port.to_string()]);
        while !ready.status()?.success() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                return Err(PostgresError::Failed(log));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        self.as_user(self.bin.join(program))
    }

    fn as_user(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(&self.folder).env("LC_ALL", "C.UTF-8");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        let guard = self.guard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(mut guard) = guard {
            // The end of its input tells the guard to clean up.
            drop(guard.stdin.take());
            let _exit_status = guard.wait();
        }
        let _already_removed = fs::remove_dir_all(&self.folder);
    }
}

/// Runs a program to its end.
fn run(command: &mut Command) -> Result<(), PostgresError> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(PostgresError::Failed(format!("{}: {said}", command.get_program().to_string_lossy())))
}

/// The folder of the newest server programs that are installed. One in the path may be a link to the server alone.
fn find_bin() -> Option<PathBuf> {
    let has_server = |folder: &PathBuf| {
        ["initdb", "postgres", "createdb", "pg_isready"].iter().all(|program| folder.join(program).is_file())
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path)
        .filter_map(|folder| fs::canonicalize(folder.join("initdb")).ok()?.parent().map(Path::to_owned))
        .find(has_server);
    if in_path.is_some() {
        return in_path;
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| has_server(folder))
        .collect();
    found.sort();
    found.pop().map(|(_, folder)| folder)
}

/// User and group to run the server as: that of the Debian package when we are root, else our own.
fn server_user() -> Result<Option<(u32, u32)>, PostgresError> {
    // Owner of our own entry: the effective user.
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    // passwd(5): name:password:uid:gid:…
    let ids = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some("postgres") {
            return None;
        }
        let mut ids = fields.skip(1).map_while(|id| id.parse().ok());
        Some((ids.next()?, ids.next()?))
    });
    ids.map(Some).ok_or(PostgresError::NotInstalled)
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
