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
    /// The addresses of their sub streams, one each where there are any.
    pub(super) sub_urls: Vec<String>,
}

impl TestCameras {
    /// Starts cameras that loop a clip; their log goes into `folder`.
    ///
    /// # Errors
    /// They do not announce themselves.
    pub(super) async fn start(count: u32, clip: &Clip, folder: &Path) -> Result<TestCameras, String> {
        Self::announced(count, clip, folder, None).await
    }

    /// The same with a sub stream each, which loops a clip as well.
    ///
    /// # Errors
    /// They do not announce themselves.
    pub(super) async fn start_with_sub(
        count: u32,
        (main, sub): (&Clip, &Clip),
        folder: &Path,
    ) -> Result<TestCameras, String> {
        let cameras = Self::announced(count, main, folder, Some(sub)).await?;
        if cameras.sub_urls.len() != cameras.urls.len() {
            return Err("a camera has no sub stream".to_owned());
        }
        Ok(cameras)
    }

    async fn announced(
        count: u32,
        clip: &Clip,
        folder: &Path,
        sub: Option<&Clip>,
    ) -> Result<TestCameras, String> {
        let mut command = this_program()?;
        command.args(["testcam", "--port", "0", "--cameras", &count.to_string(), "--video"]).arg(&clip.path);
        if let Some(sub) = sub {
            command.arg("--sub-video").arg(&sub.path);
        }
        command.stdout(Stdio::piped());
        let mut process = Process::start("heldar testcam", &mut command, &folder.join("testcam.log"))?;
        let output = process.take_output().ok_or("standard output is no pipe")?;
        let mut lines = BufReader::new(output).lines();
        let (mut urls, mut sub_urls) = (Vec::new(), Vec::new());
        while urls.len() < count as usize {
            match tokio::time::timeout(START, lines.next_line()).await {
                Ok(Ok(Some(line))) => {
                    let camera: serde_json::Value =
                        serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
                    urls.push(camera["url"].as_str().ok_or("a camera has no address")?.to_owned());
                    sub_urls.extend(camera["sub_url"].as_str().map(str::to_owned));
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
        Ok(TestCameras { process, urls, sub_urls })
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
