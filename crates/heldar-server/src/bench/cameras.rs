//! Test cameras in a process of their own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::clips::Clip;
use super::process::{Process, this_program};

/// Time that they have to start.
const START: Duration = Duration::from_secs(60);

/// Running test cameras.
#[derive(Debug)]
pub(super) struct TestCameras {
    process: Process,
    /// Their addresses, one each.
    pub(super) urls: Vec<String>,
}

impl TestCameras {
    /// Starts cameras that loop a clip; their log goes into `folder`.
    ///
    /// # Errors
    /// They do not announce themselves.
    pub(super) async fn start(count: u32, clip: &Clip, folder: &Path) -> Result<TestCameras, String> {
        let mut command = this_program()?;
        command.args(["testcam", "--port", "0", "--cameras", &count.to_string(), "--video"]).arg(&clip.path);
        command.stdout(Stdio::piped());
        let mut process = Process::start("heldar testcam", &mut command, &folder.join("testcam.log"))?;
        let output = process.take_output().ok_or("standard output is no pipe")?;
        let mut lines = BufReader::new(output).lines();
        let mut urls = Vec::new();
        while urls.len() < count as usize {
            match tokio::time::timeout(START, lines.next_line()).await {
                Ok(Ok(Some(line))) => {
                    let camera: serde_json::Value =
                        serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
                    urls.push(camera["url"].as_str().ok_or("a camera has no address")?.to_owned());
                }
                Ok(_) => {
                    // Its end is known a moment after that of its output.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    process.check()?;
                    return Err("the test cameras do not announce themselves".to_owned());
                }
                Err(_) => return Err(format!("no test cameras within {} s", START.as_secs())),
            }
        }
        Ok(TestCameras { process, urls })
    }

    /// CPU seconds that they have used.
    ///
    /// # Errors
    /// They have ended.
    pub(super) fn cpu_s(&mut self) -> Result<f64, String> {
        Ok(self.process.usage()?.cpu_s)
    }

    /// Ends them.
    ///
    /// # Errors
    /// They had to be killed.
    pub(super) async fn stop(self) -> Result<(), String> {
        self.process.stop().await.map(|_status| ())
    }
}
